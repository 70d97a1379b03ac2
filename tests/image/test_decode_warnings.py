"""Suppression of Pillow's warnings while decoding."""

import threading
import warnings

import pytest

from assay.image.decode import suppress_warnings


def test_no_warnings_inside_even_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress_warnings():
            warnings.warn("metadata", UserWarning, stacklevel=1)
        with pytest.raises(UserWarning, match="after"):
            warnings.warn("after", UserWarning, stacklevel=1)


def test_filters_set_later_do_not_matter():
    with warnings.catch_warnings():
        for _ in range(3):
            warnings.simplefilter("error")
            with suppress_warnings():
                warnings.warn("metadata", RuntimeWarning, stacklevel=1)
        ours = [entry for entry in warnings.filters if not isinstance(entry[1], str | None)]
        assert len({id(entry) for entry in ours}) == len(ours)


def test_other_threads_still_warn():
    raised: list[Warning] = []

    def warn() -> None:
        try:
            warnings.warn("mine", UserWarning, stacklevel=1)
        except UserWarning as warning:
            raised.append(warning)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress_warnings():
            other = threading.Thread(target=warn)
            other.start()
            other.join()
    assert [str(warning) for warning in raised] == ["mine"]


def test_exception_ends_the_suppression():
    with pytest.raises(KeyError), suppress_warnings():
        raise KeyError
    with pytest.raises(UserWarning):
        warnings.warn("loud again", UserWarning, stacklevel=1)


def test_blocks_nest():
    with suppress_warnings():
        with suppress_warnings():
            warnings.warn("inner", UserWarning, stacklevel=1)
        warnings.warn("outer", UserWarning, stacklevel=1)


def test_libraries_can_copy_the_filters():
    with suppress_warnings():
        ours = next(entry for entry in warnings.filters if not isinstance(entry[1], str | None))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ours[1] is not None
        # As scikit-learn does in its worker threads.
        warnings.filterwarnings("ignore", message=ours[1].pattern, category=Warning)
        with pytest.raises(UserWarning, match="loud"):
            warnings.warn("loud", UserWarning, stacklevel=1)

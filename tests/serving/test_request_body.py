import pytest

from assay.serving.errors import UploadError
from assay.serving.multipart import UploadLimits
from assay.serving.request_body import check_encoding, check_length


def test_a_length_that_is_too_large_is_refused_before_anything_is_read():
    limits = UploadLimits(1000)
    check_length(None, limits.total_bytes)
    check_length("1000", limits.total_bytes)
    for bad in ("x", "-1", "1000000", "²"):
        with pytest.raises(UploadError):
            check_length(bad, limits.total_bytes)


@pytest.mark.parametrize("value", ["gzip", "br", "GZIP", "identity, gzip", "x", "deflate;q=1", "identity;"])
def test_other_encodings_are_refused(value: str):
    with pytest.raises(UploadError, match="Content-Encoding") as refused:
        check_encoding(value)
    assert (refused.value.status, refused.value.headers["Accept-Encoding"]) == (415, "identity")


@pytest.mark.parametrize("value", [None, "", "identity", "Identity", "identity, identity"])
def test_no_encoding_is_taken(value: str | None):
    check_encoding(value)

"""Keys name all that an answer depends on."""

from assay.serving.cache import answer_key

PHOTO, OTHER = "ab" * 32, "cd" * 32


def test_the_order_of_options_does_not_count():
    assert answer_key(PHOTO, "v1", {"detail": True, "top": 3}) == answer_key(
        PHOTO, "v1", {"top": 3, "detail": True}
    )


def test_whatever_differs_makes_another_key():
    keys = {
        answer_key(PHOTO, "v1", {}),
        answer_key(OTHER, "v1", {}),
        answer_key(PHOTO, "v2", {}),
        answer_key(PHOTO, "v1", {"detail": True}),
        answer_key(PHOTO, "v1", {"detail": False}),
        answer_key(PHOTO, "v1", {"detail": "true"}),
        answer_key(PHOTO, "v1", {"explain": True}),
    }
    assert len(keys) == 7

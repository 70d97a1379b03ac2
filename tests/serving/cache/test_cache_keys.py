"""Cache keys contain everything that a result depends on."""

from assay.serving.cache.result_cache import cache_key

PHOTO, OTHER = "ab" * 32, "cd" * 32


def test_order_of_options_does_not_matter():
    assert cache_key(PHOTO, "v1", {"detail": True, "top": 3}) == cache_key(PHOTO, "v1", {"top": 3, "detail": True})


def test_every_difference_changes_the_key():
    keys = {
        cache_key(PHOTO, "v1", {}),
        cache_key(OTHER, "v1", {}),
        cache_key(PHOTO, "v2", {}),
        cache_key(PHOTO, "v1", {"detail": True}),
        cache_key(PHOTO, "v1", {"detail": False}),
        cache_key(PHOTO, "v1", {"detail": "true"}),
        cache_key(PHOTO, "v1", {"explain": True}),
    }
    assert len(keys) == 7

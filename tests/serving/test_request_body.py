"""Checks of request bodies before and while they are read."""

import pytest

from assay.serving.errors import UploadError
from assay.serving.multipart import UploadLimits
from assay.serving.request_body import check_encoding, check_length


def test_too_large_content_length_is_rejected_before_reading():
    limits = UploadLimits(1000)
    check_length(None, limits.total_bytes)
    check_length("1000", limits.total_bytes)
    for bad in ("x", "-1", "1000000", "²"):
        with pytest.raises(UploadError):
            check_length(bad, limits.total_bytes)


@pytest.mark.parametrize("value", ["gzip", "br", "GZIP", "identity, gzip", "x", "deflate;q=1", "identity;"])
def test_transfer_encodings_are_rejected(value: str):
    with pytest.raises(UploadError, match="Content-Encoding") as refused:
        check_encoding(value)
    assert (refused.value.status, refused.value.headers["Accept-Encoding"]) == (415, "identity")


@pytest.mark.parametrize("value", [None, "", "identity", "Identity", "identity, identity"])
def test_identity_encodings_are_accepted(value: str | None):
    check_encoding(value)

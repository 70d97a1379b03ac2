"""The request body that sets a label; invalid bodies are a 400."""

import pytest

from assay.serving.errors import ApiError
from assay.serving.web.relabel_routes import _parse_label


def test_label_is_parsed():
    assert _parse_label(bytearray(b'{"label": "open", "more": [{}]}')) == "open"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'"open"',
        b'{"label": 7}',
        b'{"label": null}',
        b'{"label": "\\ud800"}',
        b'{"label": "\xff"}',
        b'{"x": ' + b"[" * 4000,
        b"[" * 4000,
        b'{"label": ' + b"9" * 4000 + b"}",
    ],
)
def test_invalid_bodies_are_rejected(body: bytes):
    with pytest.raises(ApiError) as refused:
        _parse_label(bytearray(body))
    assert refused.value.status == 400

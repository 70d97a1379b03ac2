"""The Open Inference Protocol: what is read, and that anything else is a 400."""

import base64
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.serving.answers import Result
from assay.serving.errors import ApiError
from assay.serving.openinference import read_request, write_answer
from assay.serving.record import ImageFacts

SIDE = 2
PIXELS = {"name": "images", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3]}
PHOTOS = {"name": "photos", "datatype": "BYTES", "shape": [2]}


def _body(tensor: dict[str, object], **more: object) -> bytes:
    return json.dumps({"inputs": [tensor], **more}).encode()


def test_pixels_flat_nested_and_binary_are_the_same():
    values = np.arange(12, dtype=np.uint8)
    nested = values.reshape(1, SIDE, SIDE, 3).tolist()
    head = _body({**PIXELS, "parameters": {"binary_data_size": 12}})
    for body, length in (
        (_body({**PIXELS, "data": values.tolist()}), None),
        (_body({**PIXELS, "data": nested}), None),
        (head + values.tobytes(), str(len(head))),
    ):
        request = read_request(body, length, SIDE, 4)
        assert request.pixels is not None
        assert request.pixels.dtype == np.uint8
        assert request.pixels.tolist() == nested


def test_photos_in_base64_and_binary_are_the_same():
    photos = [b"one", b""]
    text = _body({**PHOTOS, "data": [base64.b64encode(photo).decode() for photo in photos]})
    raw = b"".join(struct.pack("<I", len(photo)) + photo for photo in photos)
    head = _body({**PHOTOS, "parameters": {"binary_data_size": len(raw)}})
    assert read_request(text, None, SIDE, 4).photos == photos
    assert read_request(head + raw, str(len(head)), SIDE, 4).photos == photos


@pytest.mark.parametrize(
    "tensor",
    [
        {**PIXELS, "data": [0] * 11},
        {**PIXELS, "data": [256] * 12},
        {**PIXELS, "data": [-1] * 12},
        {**PIXELS, "data": [0.5] * 12},
        {**PIXELS, "data": ["0"] * 12},
        {**PIXELS, "data": [[0, 1], [2]]},
        {**PIXELS, "data": None},
        {**PIXELS, "shape": [0, SIDE, SIDE, 3], "data": []},
        {**PIXELS, "shape": [5, SIDE, SIDE, 3], "data": [0] * 60},
        {**PIXELS, "shape": [True, SIDE, SIDE, 3], "data": [0] * 12},
        {**PIXELS, "datatype": "FP32", "data": [0] * 12},
        {**PIXELS, "parameters": {"binary_data_size": 12}},
        {**PHOTOS, "data": ["?", "?"]},
        {**PHOTOS, "data": ["", "", ""]},
        {**PHOTOS, "data": [1, 2]},
        {"name": "other"},
    ],
    ids=lambda tensor: "-".join(map(str, tensor))[:30],
)
def test_a_tensor_that_is_wrong_is_refused(tensor: dict[str, object]):
    with pytest.raises(ApiError) as refused:
        read_request(_body(tensor), None, SIDE, 4)
    assert refused.value.status == 400


@given(st.binary(max_size=100), st.none() | st.text(max_size=5))
def test_any_bytes_are_refused(body: bytes, length: str | None):
    with pytest.raises(ApiError):
        read_request(body, length, SIDE, 4)


def test_deep_json_and_other_outputs_are_refused():
    with pytest.raises(ApiError, match="JSON"):
        read_request(b"[" * 100_000, None, SIDE, 4)
    with pytest.raises(ApiError, match="outputs are"):
        read_request(_body({**PIXELS, "data": [0] * 12}, outputs=[{"name": "logits"}]), None, SIDE, 4)


def test_the_answer_has_the_outputs_that_were_asked_for():
    body = _body({**PIXELS, "data": [0] * 12}, id="7", outputs=[{"name": "probabilities"}])
    request = read_request(body, None, SIDE, 4)
    facts = ImageFacts(12, "pixels", (SIDE, SIDE))
    result = Result(facts, "a", 0.75, {"a": 0.75, "b": 0.25}, None, None, None)
    assert write_answer("colours", "v1", request, [result]) == {
        "model_name": "colours",
        "model_version": "v1",
        "id": "7",
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.75, 0.25]}],
    }

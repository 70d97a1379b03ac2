"""The Open Inference Protocol: valid requests are parsed, anything else is a 400."""

import base64
import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.serving.errors import ApiError
from assay.serving.open_inference import build_response, parse_request
from assay.serving.request_record import ImageMetadata
from assay.serving.results import ClassificationResult

SIDE = 2
PIXELS = {"name": "images", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3]}
PHOTOS = {"name": "photos", "datatype": "BYTES", "shape": [2]}


def _body(tensor: dict[str, object], **more: object) -> bytes:
    return json.dumps({"inputs": [tensor], **more}).encode()


def test_flat_nested_and_binary_pixels_are_equal():
    values = np.arange(12, dtype=np.uint8)
    nested = values.reshape(1, SIDE, SIDE, 3).tolist()
    head = _body({**PIXELS, "parameters": {"binary_data_size": 12}})
    for body, length in (
        (_body({**PIXELS, "data": values.tolist()}), None),
        (_body({**PIXELS, "data": nested}), None),
        (head + values.tobytes(), str(len(head))),
    ):
        request = parse_request(body, length, SIDE, 4)
        assert request.pixels is not None
        assert request.pixels.dtype == np.uint8
        assert request.pixels.tolist() == nested


def test_base64_and_binary_photos_are_equal():
    photos = [b"one", b""]
    text = _body({**PHOTOS, "data": [base64.b64encode(photo).decode() for photo in photos]})
    raw = b"".join(struct.pack("<I", len(photo)) + photo for photo in photos)
    head = _body({**PHOTOS, "parameters": {"binary_data_size": len(raw)}})
    assert parse_request(text, None, SIDE, 4).images == photos
    assert parse_request(head + raw, str(len(head)), SIDE, 4).images == photos


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
def test_invalid_tensors_are_rejected(tensor: dict[str, object]):
    with pytest.raises(ApiError) as refused:
        parse_request(_body(tensor), None, SIDE, 4)
    assert refused.value.status == 400


@given(st.binary(max_size=100), st.none() | st.text(max_size=5))
def test_arbitrary_bytes_are_rejected(body: bytes, length: str | None):
    with pytest.raises(ApiError):
        parse_request(body, length, SIDE, 4)


def test_deep_json_and_unknown_outputs_are_rejected():
    with pytest.raises(ApiError, match="JSON"):
        parse_request(b"[" * 100_000, None, SIDE, 4)
    with pytest.raises(ApiError, match="outputs are"):
        parse_request(_body({**PIXELS, "data": [0] * 12}, outputs=[{"name": "logits"}]), None, SIDE, 4)


def test_response_contains_the_requested_outputs():
    body = _body({**PIXELS, "data": [0] * 12}, id="7", outputs=[{"name": "probabilities"}])
    request = parse_request(body, None, SIDE, 4)
    facts = ImageMetadata(12, "pixels", (SIDE, SIDE))
    result = ClassificationResult(facts, "a", 0.75, {"a": 0.75, "b": 0.25}, None, None, None)
    assert build_response("colours", "v1", request, [result]) == {
        "model_name": "colours",
        "model_version": "v1",
        "id": "7",
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": [0.75, 0.25]}],
    }


_MANY = 200_000
_HOSTILE = {
    "objects": '{"x": [' + "{}," * _MANY + "{}]}",
    "objects as inputs": '{"inputs": [' + "{}," * _MANY + "{}]}",
    "lists as inputs": '{"inputs": [' + "[]," * _MANY + "[]]}",
    "a list of lists": "[" + "[]," * _MANY + "[]]",
    "outputs": '{"inputs": [{}], "outputs": [' + '{"name": "label"},' * _MANY + "{}]}",
    "a shape": '{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [' + "1," * _MANY + "1]}]}",
    "a shape of large numbers": '{"inputs": [{"name": "photos", "datatype": "BYTES", "data": [], "shape": ['
    + "99999," * _MANY
    + "1]}]}",
    "pixels": '{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": ['
    + "1," * _MANY
    + "1]}]}",
    "pixels in lists": '{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": ['
    + "[1]," * _MANY
    + "[1]]}]}",
    "photos": '{"inputs": [{"name": "photos", "datatype": "BYTES", "shape": [1], "data": ['
    + '"a",' * _MANY
    + '"a"]}]}',
    "photos that are objects": '{"inputs": [{"name": "photos", "datatype": "BYTES", "shape": [1], "data": ['
    + "{}," * _MANY
    + "{}]}]}",
    "keys": "{" + "".join(f'"{number}": 0,' for number in range(_MANY)) + '"x": 0}',
    "one key again and again": "{" + '"inputs": [],' * _MANY + '"x": 0}',
    "parameters": '{"inputs": [{"parameters": {' + '"x": {},' * _MANY + '"x": 1}}]}',
    "deep lists": '{"x": ' + "[" * _MANY,
    "deep objects": '{"x":' * _MANY,
    "deep data": '{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": '
    + "[" * _MANY
    + "]" * _MANY
    + "}]}",
    "a long number": '{"inputs": [{"shape": [' + "9" * _MANY + "]}]}",
    "a long fraction": '{"inputs": [{"name": 0.' + "9" * _MANY + "}]}",
    "a long id": '{"inputs": [{}], "id": "' + "x" * _MANY + '"}',
}


@pytest.mark.parametrize("text", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_malicious_json_is_rejected_without_using_memory(text: str):
    body = text.encode()
    tracemalloc.start()
    try:
        with pytest.raises(ApiError) as refused:
            parse_request(body, None, SIDE, 4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.status == 400
    assert peak < 3 * len(body) + 100_000
    refused.value.text.encode()


_FLAT = [0] * 12


@pytest.mark.parametrize(
    "text",
    [
        '{"inputs": [%s], "id": "\\ud800"}',
        '{"inputs": [%s], "id": "\\udc00\\ud800"}',
        '{"inputs": [%s], "id": 7}',
        '{"inputs": [%s], "id": NaN}',
        '{"inputs": [%s], "outputs": {}}',
        '{"inputs": [%s], "outputs": [7]}',
        '{"inputs": [%s, %s]}',
        '{"inputs": []}',
        '{"inputs": {}}',
        '{"inputs": null}',
        '{"inputs": [null]}',
        '{"inputs": "x"}',
        '{"inputs": [%s]} x',
        '{"inputs": [%s],}',
        "[]",
        "7",
        "null",
        '""',
        "",
    ],
)
def test_json_of_another_structure_is_rejected(text: str):
    tensor = json.dumps({**PIXELS, "data": _FLAT})
    with pytest.raises(ApiError) as refused:
        parse_request(text.replace("%s", tensor).encode(), None, SIDE, 4)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "data",
    [
        "[0,0,0,0,0,0,0,0,0,0,0,256]",
        "[0,0,0,0,0,0,0,0,0,0,0,-1]",
        "[0,0,0,0,0,0,0,0,0,0,0,1.0]",
        "[0,0,0,0,0,0,0,0,0,0,0,1e1]",
        "[0,0,0,0,0,0,0,0,0,0,0,true]",
        "[0,0,0,0,0,0,0,0,0,0,0,null]",
        '[0,0,0,0,0,0,0,0,0,0,0,"0"]',
        '[0,0,0,0,0,0,0,0,0,0,"0,0"]',
        "[0,0,0,0,0,0,0,0,0,0,0," + "9" * 5000 + "]",
        "[[0,0,0,0,0,0,0,0,0,0,0,0]]",
        "[[0,0,0],[0,0,0],[0,0,0],[0,0,0]]",
        "[[[[0,0,0],[0,0,0]],[[0,0,0],[0,0],0]]]",
        "[[[[0,0,0],[0,0,0]],[[0,0,0],[0,0,[]]]]]",
        "[[[[0,0,0],[0,0,0]],[[0,0,0],[0,0,0]]],{}]",
        '{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0}',
        '"0,0,0,0,0,0,0,0,0,0,0,0"',
        "0",
        "[]",
        "null",
    ],
)
def test_invalid_pixel_values_are_rejected(data: str):
    body = _body({**PIXELS, "data": 0}).replace(b'"data": 0', f'"data": {data}'.encode())
    with pytest.raises(ApiError) as refused:
        parse_request(body, None, SIDE, 4)
    assert refused.value.status == 400
    assert "images" in refused.value.text


def test_large_pixel_arrays_are_parsed_in_segments():
    side, rng = 200, np.random.default_rng(0)
    values = rng.integers(0, 256, (5, side, side, 3), dtype=np.uint8)
    tensor = {**PIXELS, "shape": list(values.shape)}
    for data in (values.tolist(), values.ravel().tolist()):
        request = parse_request(_body({**tensor, "data": data}), None, side, 5)
        assert request.pixels is not None
        assert np.array_equal(request.pixels, values)


@pytest.mark.parametrize("length", ["9" * 5000, "0" * 5000, "-1", "+1", "1.0", "1e1", " 1", "\xb2", "NaN"])
def test_invalid_lengths_are_rejected(length: str):
    with pytest.raises(ApiError) as refused:
        parse_request(_body({**PIXELS, "data": _FLAT}), length, SIDE, 4)
    assert refused.value.status == 400


_TENSOR = {"name": "photos", "datatype": "BYTES", "shape": [1], "data": ["YQ=="]}


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (3, "it must be an object, not a whole number"),
        ([], "it must be an object, not a list"),
        ({}, "inputs is missing"),
        ({"inputs": "x"}, "inputs must be a list, not text"),
        ({"inputs": []}, "inputs must be a list of length 1"),
        ({"inputs": [None]}, "inputs[0] must be an object, not null"),
        ({"inputs": [{**_TENSOR, "name": True}]}, "inputs[0].name must be text, not true or false"),
        ({"inputs": [{**_TENSOR, "datatype": 1.5}]}, "inputs[0].datatype must be text, not a number"),
        ({"inputs": [{**_TENSOR, "shape": ["a"]}]}, "a list of whole numbers: [0] must be a whole number, not text"),
        ({"inputs": [{**_TENSOR, "data": [3]}]}, "in base64: [0] must be text in base64, not a whole number"),
        ({"inputs": [{**_TENSOR, "parameters": 3}]}, "inputs[0].parameters must be an object or null, not a whole"),
        ({"inputs": [_TENSOR], "id": {}}, "id must be text or null, not an object"),
        ({"inputs": [_TENSOR], "outputs": {}}, "objects with a name: it must be a list or null, not an object"),
        ({"inputs": [_TENSOR], "outputs": [{}]}, "objects with a name: [0].name is missing"),
        ({"inputs": [_TENSOR], "outputs": [{"name": 3}]}, "objects with a name: [0].name must be text, not a whole"),
    ],
)
def test_wrong_types_are_named_in_the_words_of_json(request_: object, sentence: str):
    with pytest.raises(ApiError) as refused:
        parse_request(json.dumps(request_).encode(), None, side=2, max_images=4)
    assert sentence in refused.value.text
    assert not [word for word in ("`", "str", "bool", "Expected", "array") if word in refused.value.text]

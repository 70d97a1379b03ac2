"""The HTTP API over a real socket."""

import base64
import json
import struct
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from assay.inference import Classifier
from assay.recipe import load_recipe

BOTTLE = load_recipe("bottle").serve


@pytest.fixture(scope="module")
def bundle(make_bundle: Callable[..., Path]) -> Path:
    return make_bundle(serve=BOTTLE)


@pytest.fixture(scope="module")
def running(serve, make_bundle: Callable[..., Path], bundle: Path):
    return serve(bundle, f"other={make_bundle(temperature=2.0)}")


@pytest.fixture(scope="module")
def client(running):
    with running.client() as client:
        yield client


def _send(client: httpx.Client, photo: bytes, path: str = "/classify", **headers: str) -> httpx.Response:
    return client.post(path, files={"image": ("photo", photo)}, headers=headers)


def test_health_response_follows_the_recipe(client):
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy", "service": BOTTLE.service_name})


def test_classify_uses_the_field_names_of_the_recipe(client, painted, bundle: Path):
    photo = painted()
    expected = Classifier.load(bundle).predict(photo)
    answer = _send(client, photo)
    assert answer.status_code == 200
    assert answer.json() == {"Bottle_Status": expected.label, "Confidence": expected.confidence}


def test_model_is_selected_by_name(client, painted):
    answers = [_send(client, painted(), f"/classify{query}").json() for query in ("", "?model=colours", "?model=other")]
    assert answers[0] == answers[1]
    assert answers[2]["label"] == "red"
    assert answers[2]["confidence"] < answers[0]["Confidence"]
    assert _send(client, painted(), "/classify?model=none").status_code == 404


def test_details_and_heat_map(client, painted):
    photo = painted(number=77)
    values = _send(client, photo, "/classify?detail=1&explain=1").json()
    assert sum(values["probabilities"].values()) == pytest.approx(1)
    assert values["calibrated_confidence"] == values["Confidence"]
    assert values["unknown"] is None
    assert values["model_version"] == client.get("/models").json()["models"][0]["version"]
    assert set(values["timings_ms"]) == {"queue", "decode", "inference", "total"}
    assert base64.b64decode(values["heat_map"]).startswith(b"\x89PNG")
    assert not values["cached"]
    again = _send(client, photo, "/classify?detail=1&explain=1").json()
    assert again["cached"]
    assert again["heat_map"] == values["heat_map"]


def test_batch_has_a_result_or_an_error_per_photo(client, painted):
    photos = [painted((0, 250, 0)), b"no photo", painted((0, 0, 250))]
    files = [("image", ("photo", photo)) for photo in photos]
    results = client.post("/classify/batch", files=files).json()["results"]
    assert [result.get("Bottle_Status", "error" in result) for result in results] == ["green", True, "blue"]
    many = [("image", ("photo", photos[0]))] * 33
    assert client.post("/classify/batch", files=many).json() == {"error": "Send at most 32 images"}


def test_request_id_is_returned_or_created(client):
    assert client.get("/health", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == "abc-1"
    made = {client.get("/health", headers={"X-Request-ID": given}).headers["x-request-id"] for given in ("", "a b")}
    assert len(made) == 2
    assert "a b" not in made


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        ({"files": {"photo": ("a", b"x")}}, 400, "No image file provided"),
        ({}, 400, "No image file provided"),
        ({"data": {"image": "x"}}, 400, "No image file provided"),
        ({"files": {"image": (None, b"x")}}, 400, "No image file provided"),
        (
            {"files": {"image": ("a.jpg", b"x")}},
            400,
            "Invalid image format. Allowed formats: jpg, jpeg, png",
        ),
        (
            {"files": {"image": ("a.jpg", b"")}},
            400,
            "Invalid image format. Allowed formats: jpg, jpeg, png",
        ),
        ({"files": {"image": ("a", b"\0" * (2**24 + 1))}}, 400, "File size exceeds maximum limit"),
        ({"files": {"image": ("a", b"\0" * 2**25)}}, 400, "File size exceeds maximum limit"),
        ({"files": [("image", ("a", b"x")), ("image", ("b", b"x"))]}, 400, "Send one image"),
        ({"json": {"image": 1}}, 415, "Content-Type must be multipart/form-data"),
    ],
    ids=["name", "none", "form", "field", "text", "empty", "large", "larger", "two", "json"],
)
def test_invalid_requests_get_an_error(client, request_: dict, status: int, text: str):
    answer = client.post("/classify", **request_)
    assert (answer.status_code, answer.json()) == (status, {"error": text})


@pytest.mark.parametrize("photo", [b"no photo", b"", None], ids=["text", "empty", "whole"])
def test_query_string_does_not_change_the_response(client, painted, photo: bytes | None):
    content = painted(number=123) if photo is None else photo
    short, long = _send(client, content), _send(client, content, "/classify?detail=0")
    assert (short.status_code, short.json()) == (long.status_code, long.json())
    passing = {"x-request-id", "date"}
    assert {*short.headers.items()} - {*long.headers.items()} <= {
        (name, short.headers[name]) for name in passing if name in short.headers
    }


def test_cors_of_allowed_origins(serve, make_bundle: Callable[..., Path], painted):
    with serve(make_bundle(), listen__cors='["https://a.example"]').client() as client:
        for path, status in (("/classify", 200), ("/classify?model=none", 404)):
            answer = _send(client, painted(), path, Origin="https://a.example")
            allowed = answer.headers.get("access-control-allow-origin")
            assert (answer.status_code, allowed) == (status, "https://a.example")
        requested = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
        assert client.options("/classify", headers=requested).status_code == 200
        assert "access-control-allow-origin" not in _send(client, painted(), Origin="https://b.example").headers


def test_other_errors_are_json(client, painted):
    for method, path, status in (
        ("GET", "/classify", 405),
        ("GET", "/nothing", 404),
        ("POST", "/classify?detail=perhaps", 400),
        ("POST", "/v2/models/none/infer", 404),
        ("GET", "/v2/models/colours/versions/0", 404),
    ):
        answer = client.request(method, path)
        assert answer.status_code == status, path
        assert set(answer.json()) == {"error"}
    wide = painted(size=(4097, 1), kind="PNG")
    assert _send(client, wide).json()["error"].startswith("Image dimensions exceed maximum limit")
    cut = painted(size=(640, 480))[:-200]
    assert _send(client, cut).json() == {"error": "The JPEG image cannot be read: damaged: truncated JPEG"}
    assert _send(client, painted(kind="WEBP")).status_code == 400


def test_probes_and_metrics(client, painted):
    _send(client, painted())
    assert client.get("/live").json() == {"status": "live"}
    assert client.get("/ready").json() == {"status": "ready"}
    figures = client.get("/metrics").text
    assert any(line.startswith("assay_requests_total{") and '"200"' in line for line in figures.splitlines())


def test_no_cache_stores_a_response(client, painted):
    answers = [client.get(path) for path in ("/health", "/models", "/metrics", "/openapi.json", "/none", "/classify")]
    answers.append(client.post("/classify", files={"image": painted()}))
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}


def test_openapi_names_fields_errors_and_examples(client):
    schema = client.get("/openapi.json").json()
    classify = schema["paths"]["/classify"]["post"]
    example = classify["responses"]["200"]["content"]["application/json"]["example"]
    assert set(example) == {"Bottle_Status", "Confidence"}
    assert {"400", "401", "403", "415", "429", "500", "503", "504"} <= set(classify["responses"])
    assert "multipart/form-data" in classify["requestBody"]["content"]


def test_open_inference_protocol(client, painted):
    about = client.get("/v2/models/colours").json()
    assert about["inputs"][0]["shape"] == [-1, 16, 16, 3]
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/colours/ready").json()["ready"]
    photo = painted((10, 10, 240))
    tensor = {"name": "photos", "datatype": "BYTES", "shape": [1]}
    as_text = {"id": "7", "inputs": [{**tensor, "data": [base64.b64encode(photo).decode()]}]}
    head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": len(photo) + 4}}]}).encode()
    body = head + struct.pack("<I", len(photo)) + photo
    pixels = {"name": "images", "datatype": "UINT8", "shape": [2, 16, 16, 3], "data": [0, 0, 255] * 512}
    answers = [
        client.post("/v2/models/colours/infer", json=as_text).json(),
        client.post(
            "/v2/models/colours/infer",
            content=body,
            headers={"Inference-Header-Content-Length": str(len(head))},
        ).json(),
        client.post("/v2/models/colours/infer", json={"inputs": [pixels]}).json(),
    ]
    labels = [{output["name"]: output["data"] for output in answer["outputs"]}["label"] for answer in answers]
    assert labels == [["blue"], ["blue"], ["blue", "blue"]]
    assert answers[0]["id"] == "7"


def test_server_does_not_import_torch(running, client, painted):
    _send(client, painted())
    maps = Path(f"/proc/{running.process.pid}/maps").read_text(encoding="utf-8")
    assert "openvino" in maps or "onnxruntime" in maps
    assert "torch" not in maps


@pytest.mark.parametrize("path", ["/health", "/live", "/ready", "/v2/health/ready", "/models", "/", "/nothing"])
def test_head_equals_get_without_the_body(client, path: str):
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    for name in ("content-length", "content-type"):
        assert head.headers[name] == get.headers[name]
    assert client.get("/live").status_code == 200  # the connection stays open


@pytest.mark.parametrize("path", ["/classify", "/classify?detail=1", "/classify/batch", "/v2/models/colours/infer"])
def test_encoded_bodies_are_rejected(client, painted, path: str):
    answer = _send(client, painted(), path, **{"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "identity")
    assert answer.json()["error"].startswith("The Content-Encoding is not supported")


@pytest.mark.parametrize("path", ["/classify", "/classify?detail=0"])
@pytest.mark.parametrize(
    ("field", "status"),
    [
        ('name="image"', 200),
        ("name=\"image\"; filename*=UTF-8''%C3%BC.jpg", 200),
        ('name="file"; filename="a.jpg"', 400),
        ('filename="a.jpg"', 400),
    ],
)
def test_forms_of_common_clients(client, painted, path: str, field: str, status: int):
    body = b"Preamble\r\n--b\r\nContent-Disposition: form-data; " + field.encode() + b"\r\n\r\n"
    body += painted((10, 240, 10)) + b"\r\n--b--\r\nEpilogue"
    headers = {"CONTENT-TYPE": 'Multipart/Form-Data; Boundary="b"'}
    answer = client.post(path, content=body, headers=headers)
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["Bottle_Status"] == "green"
    else:
        assert answer.json() == {"error": "The image must be in the form field named image"}

"""Opening, packing and amending bundles."""

import pickle
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import save

from assay.bundle import Bundle, BundleError, BundleInfo, amend_bundle, pack_bundle
from assay.bundle.archive import write_members
from assay.bundle.info import dump_info


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def everything(bundle: Bundle) -> tuple[object, ...]:
    weights = {name: tensor.tobytes() for name, tensor in bundle.weights().items()}
    return dump_info(bundle.info), bundle.card, bundle.model(), weights


def test_bundle_survives_a_round_trip(packed: Path, info: BundleInfo, members: dict[str, bytes]) -> None:
    bundle = Bundle.open(packed)
    assert bundle.path == packed
    assert bundle.info.classes == info.classes
    assert bundle.info.preprocess == info.preprocess
    assert bundle.model() == members["model.onnx"]
    assert bundle.precisions == ("fp32",)
    assert bundle.card.startswith("# screws")
    weights = bundle.weights()
    assert weights["head.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert weights["steps"].shape == ()


def test_path_can_be_a_string(packed: Path) -> None:
    assert Bundle.open(str(packed)).info.name == "screws"


def test_int8_model_is_available_only_if_packed(packed: Path, info: BundleInfo, members: dict[str, bytes]) -> None:
    with pytest.raises(BundleError, match=r"holds no model\.int8\.onnx"):
        Bundle.open(packed).model("int8")
    pack_bundle(packed, info, {**members, "model.int8.onnx": members["model.onnx"]})
    assert Bundle.open(packed).precisions == ("fp32", "int8")
    assert Bundle.open(packed).model("int8") == members["model.onnx"]


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors", "card.md"])
def test_exchanged_member_raises(packed: Path, name: str) -> None:
    changed = contents(packed)
    changed[name] = changed[name][:-1] + b"!"
    write_members(packed, changed)
    with pytest.raises(BundleError, match=f"its {name} does not match its digest"):
        Bundle.open(packed)


@pytest.mark.parametrize("name", ["assay.json", "model.onnx", "weights.safetensors", "card.md"])
def test_missing_member_raises(packed: Path, name: str) -> None:
    changed = contents(packed)
    del changed[name]
    write_members(packed, changed)
    with pytest.raises(BundleError, match=f"not a whole bundle: it holds no {name}"):
        Bundle.open(packed)


def test_unlisted_member_raises(packed: Path) -> None:
    info = Bundle.open(packed).info
    listed = {name: digest for name, digest in info.members.items() if name != "card.md"}
    write_members(packed, {**contents(packed), "assay.json": dump_info(info.model_copy(update={"members": listed}))})
    with pytest.raises(BundleError, match=r"does not list its card\.md"):
        Bundle.open(packed)


@pytest.mark.parametrize("name", ["../../escape.txt", "/etc/passwd", "notes.txt", "sub/", "model.pkl"])
def test_unknown_member_raises(packed: Path, name: str) -> None:
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, pickle.dumps(["anything"]))
    with pytest.raises(BundleError, match=f"it holds '{name}', which no bundle does"):
        Bundle.open(packed)


def test_newer_format_raises(packed: Path) -> None:
    newer = {**contents(packed), "assay.json": b'{"format_version": 9}'}
    write_members(packed, newer)
    with pytest.raises(BundleError, match=r"screws\.assay cannot be used: it has format 9"):
        Bundle.open(packed)


def test_file_changed_after_opening_raises(packed: Path) -> None:
    bundle = Bundle.open(packed)
    content = packed.read_bytes()
    place = content.index(bundle.model())
    packed.write_bytes(content[:place] + b"\0" + content[place + 1 :])
    with pytest.raises(BundleError, match=r"its model\.onnx does not match its digest"):
        bundle.model()


def test_model_with_external_data_raises(tmp_path: Path, info: BundleInfo, members: dict[str, bytes]) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model = helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()
    path = tmp_path / "curious.assay"
    pack_bundle(path, info, {**members, "model.onnx": model})
    with pytest.raises(BundleError, match=r"cannot be used: its model\.onnx has weights in other files"):
        Bundle.open(path).model()


@pytest.mark.parametrize(("name", "read"), [("model.onnx", Bundle.model), ("weights.safetensors", Bundle.weights)])
def test_invalid_members_raise(
    tmp_path: Path,
    info: BundleInfo,
    members: dict[str, bytes],
    name: str,
    read: Callable[[Bundle], object],
) -> None:
    path = tmp_path / "odd.assay"
    pack_bundle(path, info, {**members, name: pickle.dumps({"not": np.zeros(3)})})
    with pytest.raises(BundleError, match=rf"cannot be used: its {name} is"):
        read(Bundle.open(path))


def opened(path: Path) -> tuple[object, ...] | str:
    """Return everything that a bundle contains, or the error message."""
    try:
        return everything(Bundle.open(path))
    except BundleError as error:
        return str(error)


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bits_raise_or_change_nothing(packed: Path, tmp_path: Path, seed: int) -> None:
    content, whole = packed.read_bytes(), everything(Bundle.open(packed))
    # Most of a bundle is content: choose half of the positions in zip headers.
    frame = [*range(40), *range(content.index(b"PK\x01\x02"), len(content))]
    rng, damaged, refused = random.Random(seed), tmp_path / "damaged.assay", 0
    for _ in range(25):
        changed = bytearray(content)
        for _ in range(rng.choice([1, 1, 1, 4])):
            place = rng.choice(frame) if rng.random() < 0.5 else rng.randrange(len(content))
            changed[place] ^= rng.randrange(1, 256)
        damaged.write_bytes(changed)
        result = opened(damaged)
        if isinstance(result, str):
            refused += 1
            assert str(damaged) in result
            assert "\n" not in result
        else:
            assert result == whole
    assert refused > 10


def test_truncated_bundle_raises(packed: Path, tmp_path: Path) -> None:
    content = packed.read_bytes()
    damaged = tmp_path / "damaged.assay"
    rng = random.Random(0)
    for length in [0, 1, 3, 4, 5, len(content) - 1, *(rng.randrange(len(content)) for _ in range(200))]:
        damaged.write_bytes(content[:length])
        with pytest.raises(BundleError, match=r"damaged\.assay is (not a bundle|damaged or cut short)"):
            Bundle.open(damaged)


def test_reading_needs_no_torch() -> None:
    code = "import sys, assay.bundle;print([name for name in ('torch', 'onnx', 'sklearn') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_metrics_can_be_added_and_weights_stay(packed: Path) -> None:
    before = Bundle.open(packed)
    version, model = before.info.version, before.model()
    written = amend_bundle(before, {"metrics": {"accuracy": 0.5}})
    after = Bundle.open(packed)
    assert after.info == written
    assert after.info.metrics == {"accuracy": 0.5}
    assert after.info.version == version
    assert after.model() == model
    assert "0.5" in after.card
    assert "0.9375" not in after.card


def test_temperature_changes_the_version(packed: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(packed)
    elsewhere = tmp_path / "calibrated.assay"
    amend_bundle(bundle, {"temperature": 1.7}, path=elsewhere)
    assert Bundle.open(elsewhere).info.temperature == 1.7
    assert Bundle.open(elsewhere).info.version != bundle.info.version
    assert Bundle.open(packed).info.temperature == 1.0


def test_int8_model_can_be_added_and_is_kept(packed: Path) -> None:
    model = Bundle.open(packed).model()
    amend_bundle(Bundle.open(packed), {}, int8=model)
    amend_bundle(Bundle.open(packed), {"name": "bolts"})
    assert Bundle.open(packed).precisions == ("fp32", "int8")
    assert Bundle.open(packed).info.name == "bolts"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"temperature": -1}, "temperature: .*greater than 0"),
        ({"temprature": 1}, "temprature: no setting has this name"),
    ],
)
def test_invalid_change_raises(packed: Path, changes: dict[str, object], reason: str) -> None:
    content = packed.read_bytes()
    with pytest.raises(BundleError, match=rf"screws\.assay cannot be changed so: {reason}"):
        amend_bundle(Bundle.open(packed), changes)
    assert packed.read_bytes() == content


def test_novelty_detector_can_be_added_and_changes_the_version(packed: Path) -> None:
    plain = Bundle.open(packed)
    assert plain.novelty() is None
    assert "unlike the training photos" not in plain.card
    tensors = {"centre": np.arange(3, dtype=np.float32)}
    amend_bundle(plain, {}, novelty=save(tensors))
    first = Bundle.open(packed)
    assert first.info.version != plain.info.version
    assert "unlike the training photos" in first.card
    amend_bundle(first, {"metrics": {}})
    kept = Bundle.open(packed).novelty()
    assert kept is not None
    assert kept["centre"].tolist() == [0, 1, 2]
    assert Bundle.open(packed).info.version == first.info.version
    amend_bundle(Bundle.open(packed), {}, novelty=save({"centre": np.ones(3, dtype=np.float32)}))
    assert Bundle.open(packed).info.version != first.info.version


def test_broken_novelty_detector_raises(packed: Path) -> None:
    amend_bundle(Bundle.open(packed), {}, novelty=b"nothing")
    with pytest.raises(BundleError, match=r"novelty\.safetensors is broken"):
        Bundle.open(packed).novelty()

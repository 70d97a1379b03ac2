from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from assay.bundle import Bundle, BundleError, amend_bundle


def test_figures_come_in_later_and_weights_stay(packed: Path) -> None:
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


def test_a_temperature_makes_another_version(packed: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(packed)
    elsewhere = tmp_path / "calibrated.assay"
    amend_bundle(bundle, {"temperature": 1.7}, path=elsewhere)
    assert Bundle.open(elsewhere).info.temperature == 1.7
    assert Bundle.open(elsewhere).info.version != bundle.info.version
    assert Bundle.open(packed).info.temperature == 1.0


def test_an_int8_model_comes_and_stays(packed: Path) -> None:
    model = Bundle.open(packed).model()
    amend_bundle(Bundle.open(packed), {}, int8=model)
    amend_bundle(Bundle.open(packed), {"name": "bolts"})
    assert Bundle.open(packed).precisions == ("fp32", "int8")
    assert Bundle.open(packed).info.name == "bolts"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"temperature": -1}, "temperature: .*greater than 0"),
        ({"temprature": 1}, "temprature: .*not permitted"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(packed: Path, changes: dict[str, object], reason: str) -> None:
    content = packed.read_bytes()
    with pytest.raises(BundleError, match=rf"screws\.assay cannot be changed so: {reason}"):
        amend_bundle(Bundle.open(packed), changes)
    assert packed.read_bytes() == content


def test_novelty_comes_in_later_stays_and_makes_another_version(packed: Path) -> None:
    plain = Bundle.open(packed)
    assert plain.novelty() is None
    assert "looks unlike" not in plain.card
    tensors = {"centre": np.arange(3, dtype=np.float32)}
    amend_bundle(plain, {}, novelty=save(tensors))
    first = Bundle.open(packed)
    assert first.info.version != plain.info.version
    assert "looks unlike" in first.card
    amend_bundle(first, {"metrics": {}})
    kept = Bundle.open(packed).novelty()
    assert kept is not None
    assert kept["centre"].tolist() == [0, 1, 2]
    assert Bundle.open(packed).info.version == first.info.version
    amend_bundle(Bundle.open(packed), {}, novelty=save({"centre": np.ones(3, dtype=np.float32)}))
    assert Bundle.open(packed).info.version != first.info.version


def test_broken_novelty_is_refused(packed: Path) -> None:
    amend_bundle(Bundle.open(packed), {}, novelty=b"nothing")
    with pytest.raises(BundleError, match=r"novelty\.safetensors is broken"):
        Bundle.open(packed).novelty()

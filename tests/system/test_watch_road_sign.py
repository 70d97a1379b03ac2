"""The road sign example of the documentation with real photos: an animal triggers the sign, a car does not."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from assay.inference import Classifier
from assay.pipeline import train_classifier
from assay.recipe import load_recipe

_MAPPING = {"vehicle": ["automobile", "truck"], "animal": ["deer", "horse"]}


@pytest.fixture(scope="module")
def bundle(cifar10: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("road")
    photos = folder / "photos"
    photos.mkdir()
    for names in _MAPPING.values():
        for name in names:
            (photos / name).symlink_to(cifar10 / "train" / name, target_is_directory=True)
    changes = [f"data.class_mapping={json.dumps(_MAPPING)}", "data.positive_class=animal", "preprocess.size=96"]
    recipe = load_recipe("defect-lite", [*changes, "train.epochs=20", "serve.int8=false"])
    return train_classifier(photos, recipe, folder / "run").run.bundle


def surest(classifier: Classifier, folder: Path, label: str) -> Path:
    """Return the photo that the classifier is surest of: the rule is on trial here, not the classifier."""
    answers = classifier.predict(sorted(folder.iterdir()))
    return Path(max(answers, key=lambda answer: answer.probabilities[label]).source or "")


@pytest.fixture(scope="module")
def video(bundle: Path, cifar10: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds each of a car, a deer, a truck and a horse, which drift as they would before a camera."""
    classifier, path = Classifier.load(bundle), tmp_path_factory.mktemp("video") / "road.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (320, 320))
    shown = {"automobile": "vehicle", "deer": "animal", "truck": "vehicle", "horse": "animal"}
    for name, label in shown.items():
        photo = cv2.imread(str(surest(classifier, cifar10 / "test" / name, label)))
        large = cv2.resize(photo, (340, 340), interpolation=cv2.INTER_CUBIC)
        for number in range(40):
            writer.write(large[number % 20 : number % 20 + 320, 10:330])
    writer.release()
    return path


@pytest.mark.slow
def test_each_animal_triggers_the_sign_once(bundle: Path, video: Path, tmp_path: Path):
    note = tmp_path / "sign"
    script = f"open({str(note)!r}, 'a').write('on ')"
    rule = ["--on", "animal>0.7 for 500ms", "--cool-down", "2s", "--run", f'{sys.executable} -c "{script}"']
    command = [sys.executable, "-m", "assay", "watch", bundle, video, "--no-window", "--json", *rule]
    ended = subprocess.run([*command, "--every-frame", "--no-abstain"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [row["label"] for row in rows if row.get("changed")] == ["vehicle", "animal", "vehicle", "animal"]
    assert [row["time"] // 4 for row in rows if "event" in row] == [1, 3]
    assert note.read_text(encoding="utf-8") == "on on "

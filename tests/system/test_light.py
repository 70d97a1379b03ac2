"""Prediction imports no torch, Lightning or scikit-learn, and little else that takes long."""

import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import sys
from assay.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {"torch", "lightning", "sklearn", "matplotlib", "albumentations", "onnx", "scipy", *HEAVY}
assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()
"""


def test_prediction_imports_no_training_libraries(colours: Path, colours_bundle: Path, tmp_path: Path):
    photo = colours / "red" / "001.png"
    for arguments in (
        ["predict", colours_bundle, photo],
        ["explain", colours_bundle, photo, "--out", tmp_path / "why"],
        ["info", colours_bundle],
        [
            "export",
            colours_bundle,
            "--to",
            tmp_path / "to",
            "--format",
            "onnx",
            "--format",
            "openvino",
            "--check",
            photo,
        ],
        ["bench", colours_bundle, colours, "--seconds", "0.1"],
        ["watch", colours_bundle, colours / "red", "--every-frame", "--no-window", "--on", "red", "--run", "true"],
        ["collect", colours / "red", "--to", tmp_path / "photos", "--class", "red", "--no-window"],
        ["--help"],
    ):
        ended = subprocess.run(
            [sys.executable, "-c", f"HEAVY = ()\n{_SCRIPT}", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr


def test_server_imports_nothing_that_takes_long():
    heavy = {"torch", "cv2", "yaml", "rich", "typer", "pymongo", "redis", "assay.recipe.recipe", "PIL.ImageFont"}
    program = f"import sys, assay.serving.worker; print(sorted({heavy!r} & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_one_photo_imports_nothing_that_takes_long(colours: Path, colours_bundle: Path):
    # Together these took half of the time of `assay predict` of one photo.
    heavy = {"cv2", "yaml", "rich", "multiprocessing", "openvino.tools.ovc", "assay.recipe.recipe", "PIL.ImageFont"}
    command = [
        sys.executable,
        "-c",
        f"HEAVY = {heavy!r}\n{_SCRIPT}",
        "predict",
        colours_bundle,
        colours / "red/001.png",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr

"""The wheel and the source distribution build, are complete, and run once installed."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from sysconfig import get_path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "assay"

pytest.importorskip("build", reason='build is not installed: pip install "assay[dev]"')


def _run(*command: object, cwd: Path, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    ended = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build the source distribution, and the wheel from it, without a network."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def environment(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment of its own, which borrows only the dependencies of this one."""
    folder = tmp_path_factory.mktemp("installed") / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    home = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"]
    _run(*pip, "install", "--quiet", "--no-deps", "--no-index", distributions[1], cwd=folder)
    # A .pth file is not read in a folder that another .pth file names, so this checkout stays out of sight.
    (home / "dependencies.pth").write_text(get_path("purelib"), encoding="utf-8")
    return folder / "bin"


def package_files() -> set[str]:
    """Return the files of the package in this checkout, as paths below `src`."""
    return {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_contains_every_file_of_the_package(distributions: tuple[Path, Path]):
    with zipfile.ZipFile(distributions[1]) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        described = archive.read(metadata).decode()
    assert names == package_files()
    assert {Path(name).suffix for name in names} >= {".py", ".yaml", ".j2", ".css", ".js", ".html", ".svg", ".txt"}
    assert "Requires-Python: >=3.11" in described
    assert "Provides-Extra: train" in described


def test_source_distribution_contains_build_and_tests(distributions: tuple[Path, Path]):
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "Makefile", "tests/conftest.py"}
    assert names >= needed | {f"src/{name}" for name in package_files()}
    assert not [name for name in names if name.startswith((".venv", "site/", "runs/"))]


def test_installed_wheel_runs(environment: Path, colour_bundle: Path, tmp_path: Path):
    assay = environment / "assay"
    where = _run(environment / "python", "-c", "import assay; print(assay.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(environment.parent)
    assert "Usage" in _run(assay, "--help", cwd=tmp_path)
    assert "custom-resnet" in _run(assay, "recipes", "list", cwd=tmp_path)
    Image.new("RGB", (32, 32), (10, 20, 240)).save(tmp_path / "photo.png")
    assert "blue" in _run(assay, "predict", colour_bundle, tmp_path / "photo.png", cwd=tmp_path)


def test_templates_and_assets_are_read_from_the_installed_wheel(environment: Path, colours: Path, tmp_path: Path):
    assay = environment / "assay"
    _run(assay, "check", colours, "--html", tmp_path / "check.html", "--fail-on", "never", cwd=tmp_path)
    assert "<html" in (tmp_path / "check.html").read_text(encoding="utf-8")
    code = "from importlib.resources import files; print(len([*(files('assay.serving.web') / 'assets').iterdir()]))"
    assert int(_run(environment / "python", "-c", code, cwd=tmp_path)) > 10

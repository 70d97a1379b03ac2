"""The public names of the packages."""

import subprocess
import sys
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "package", ["assay", "assay.pipeline", "assay.pipeline.auto", "assay.recipe", "assay.training"]
)
def test_every_lazily_imported_name_exists(package: str) -> None:
    module = import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None


FORKED = """
import os
import assay.evaluation.report, assay.pipeline, assay.recipe.load, assay.training.fitting, assay.bundle.writer
failed = []
for module in sorted(set(assay.pipeline._MODULES.values())):
    child = os.fork()
    if not child:
        __import__(f"assay.pipeline.{module}")
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(module)
print(failed)
"""


def test_every_module_can_be_imported_first() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stderr

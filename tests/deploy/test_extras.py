"""The extra `serve` declares everything that serving imports."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imported(path: Path) -> set[str]:
    """The packages that a module imports, those for type checkers alone left out."""
    names: set[str] = set()
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped |= {inner for item in node.body for inner in ast.walk(item)}
        elif node in skipped:
            continue
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"assay"}


def declared(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    return {re.split(r"[\[<>=; ]", item)[0].lower().replace("_", "-") for item in wanted}


@pytest.mark.parametrize("package", ["inference", "serving"])
def test_imports_of_serving_are_declared(package: str):
    there, known = declared("serve", "otel"), packages_distributions()
    for path in sorted((ROOT / "src/assay" / package).rglob("*.py")):
        for name in imported(path):
            distributions = {item.lower().replace("_", "-") for item in known.get(name, [name])}
            assert distributions & there, f"{path} imports {name}, which is not in [serve]"

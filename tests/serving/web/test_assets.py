"""Assets of the web pages: complete, self-contained, and safe against injected markup."""

import re
from importlib import resources

import pytest

ASSETS = {
    file.name: file.read_text(encoding="utf-8") for file in (resources.files("assay.serving.web") / "assets").iterdir()
}


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_no_asset_loads_external_resources(name: str):
    found = re.findall(r"(?:https?:)?//[a-z0-9.]+\.[a-z]+[^\s\"']*", ASSETS[name])
    assert [item for item in found if not item.endswith("www.w3.org/2000/svg")] == []


@pytest.mark.parametrize("name", sorted(ASSETS))
def test_text_is_never_inserted_as_markup(name: str):
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", ASSETS[name])
    assert not re.search(r"\son[a-z]+=|<script>|style=", ASSETS[name])


def test_all_referenced_assets_exist():
    for name, text in ASSETS.items():
        named = re.findall(r'from "\./([^"]+)"', text) + re.findall(r'"/web/([\w.]+)"', text)
        assert set(named) <= set(ASSETS), name


@pytest.mark.parametrize(("page", "script"), [("index.html", None), ("relabel.html", "relabel.js")])
def test_elements_used_by_scripts_exist(page: str, script: str | None):
    ids = set(re.findall(r'id="([^"]+)"', ASSETS[page]))
    others = [name for name in ASSETS if name.endswith(".js") and name != "relabel.js"]
    for name in others if script is None else [script]:
        assert set(re.findall(r'byId\("([^"]+)"\)', ASSETS[name])) <= ids, name

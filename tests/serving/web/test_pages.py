"""The URLs of assets change with their content."""

import re

from assay.serving.web import read_assets


def test_asset_urls_change_with_their_content():
    files = {"index.html": b'<head><script src="web/main.js"></script>', "main.js": b"1", "page.css": b"2"}
    version, assets = read_assets(files=files)
    assert assets["index.html"].body == f'<head><script src="web/{version}/main.js"></script>'.encode()
    assert read_assets(files=files)[0] == version
    assert read_assets(files={**files, "page.css": b"3"})[0] != version
    assert b'<base href="/assay/">' in read_assets("/assay", files)[1]["index.html"].body


def test_all_links_to_assets_contain_the_hash():
    version, assets = read_assets()
    for name in ("index.html", "relabel.html"):
        links = re.findall(r'(?:src|href)="(web/[^"]+)"', assets[name].body.decode())
        assert links
        assert all(link.startswith(f"web/{version}/") for link in links)

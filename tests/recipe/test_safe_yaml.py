"""Malicious YAML is rejected at once."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import UsageError
from assay.recipe import load_recipe
from assay.recipe.safe_yaml import MAX_CHARACTERS, YamlError, parse_yaml
from assay.recipe.variants import load_variants

MERGES = "x0: &x0 {a: 1}\n" + "".join(f"x{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 8)}]}}\n" for n in range(1, 10))
BLOCK_MERGES = "x0: &x0 {a: 1}\n" + "".join(
    f"x{n}: &x{n}\n  <<: [{', '.join([f'*x{n - 1}'] * 30)}]\n" for n in range(1, 5)
)
ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
REFUSED = [
    ("[" * 100_000, "nested more than"),
    ("{a: " * 100_000, "nested more than"),
    ("- " * 100_000 + "x", "nested more than"),
    ("{a: [" * 30 + "x" + "]}" * 30, "nested more than"),
    ("\n".join(" " * level + "a:" for level in range(500)), "nested more than"),
    (MERGES, "more than 100,000 values"),
    (BLOCK_MERGES, "more than 100,000 values"),
    (ALIASES, "more than 100,000 values"),
    ("a: &a [*a]", "does not refer to an earlier value"),
    ("a: *b", "does not refer to an earlier value"),
    ("a: " + "9" * 5000, "a number has 5000 characters"),
    ("a: 0x" + "f" * 50_000, "a number has"),
    ("a: " + "1:" * 3000 + "1", "a number has"),
    ("a: 2024-13-45", "month"),
    ("a: !!int xyz", "invalid literal"),
    ("a: !!bool maybe", "maybe"),
    ("a: !!int ''", ""),
    ("a: 1\nb: 2\na: 3", "in line 3, the key 'a' is duplicated"),
    ("x: {a: 1, 'a': 2}", "duplicated"),
    ("a: !!python/object/apply:os.system [ls]", "the tag"),
    ("a: !!set {b, c}", "the tag"),
    ("a: !!binary xx", "the tag"),
    ("a: !own 3", "the tag"),
    ("[a, b]: c", "a key is not plain text"),
    ("? {a: b}\n: c", "a key is not plain text"),
    ("a: 1\n---\nb: 2", "another document"),
    ("a: \0", "not allowed"),
    ("a: \x1b[31m", "not allowed"),
    ("a: \udc80", ""),
    ("a: [", "in line"),
    ("a: " + "x" * MAX_CHARACTERS, "longer than 1 MiB"),
    ("%YAML 9.9\n---\na: 1", "incompatible"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=range(len(REFUSED)))
def test_malicious_yaml_is_rejected_at_once(text: str, message: str) -> None:
    begin = time.process_time()
    with pytest.raises(YamlError) as caught:
        parse_yaml(text)
    assert time.process_time() - begin < 5
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_usual_yaml_is_read() -> None:
    text = "base: &b {a: 1, c: 2.5}\nx: {<<: *b, a: yes}\ny: [*b, null, '007', 2024-01-01]\n"
    read = parse_yaml("\ufeff" + text)
    assert read["x"] == {"a": True, "c": 2.5}
    assert read["y"][:3] == [{"a": 1, "c": 2.5}, None, "007"]
    assert parse_yaml("") is None
    assert parse_yaml("\n".join(f"class{number}: [a]" for number in range(20_000)))["class19999"] == ["a"]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="[]{}:,-?&*!|>'\"%@`#a1.~<\n\t ", max_size=60))
def test_arbitrary_text_is_parsed_or_raises(text: str) -> None:
    result: list[str] = []
    try:
        parse_yaml(text)
    except YamlError as error:
        result.append(str(error))
    assert all("\n" not in item for item in result)


FILES = [
    ("\ufeffextends: default\nname: mine\n".encode(), None),
    (b"extends: default\nname: mine\ntrain: {epochs: 1, epochs: 2}\n", "is duplicated"),
    (MERGES.encode(), "more than 100,000 values"),
    (b"1: 2\nnull: 3\n", "recipe"),
    (b"train: {1: 2}\n", "train: YAML reads this name as the number 1"),
    ("name: x\n".encode("utf-16"), "UTF-8"),
    (b"name: \0\n", "not allowed"),
    (b"train: {epochs: " + b"9" * 4301 + b"}", "a number has"),
    (b"k" * 200_000 + b": 1\n", ""),
    (b"train: {'" + b"k" * 900 + b"': 1}\n", "no setting is called"),
    (b"augment: {train: [" + b"{name: rotat}, " * 3000 + b"]}", "and 2990 more"),
    (b"#" * (8 << 20), "longer than 1 MiB"),
]


@pytest.mark.parametrize(("content", "message"), FILES, ids=range(len(FILES)))
def test_recipe_files_are_read_safely(tmp_path: Path, content: bytes, message: str | None) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    if message is None:
        assert load_recipe(path).name == "mine"
        return
    with pytest.raises(UsageError) as caught:
        load_recipe(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 4000


@pytest.mark.parametrize(("text", "message"), [REFUSED[0], REFUSED[5], REFUSED[13], REFUSED[17]])
def test_overrides_and_variant_lists_are_read_safely(tmp_path: Path, text: str, message: str) -> None:
    del message
    with pytest.raises(UsageError) as caught:
        load_recipe("default", [f"train.epochs={text}"])
    assert len(str(caught.value)) < 1000
    (tmp_path / "list.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="is not valid YAML"):
        load_variants(tmp_path / "list.yaml")


def test_deeply_nested_setting_name_is_rejected() -> None:
    with pytest.raises(UsageError, match="no setting has so many parts"):
        load_recipe("default", [".".join("a" * 100_000) + "=1"])


def test_recipe_cannot_extend_itself_by_another_path(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.yaml").write_text("extends: sub/../a.yaml\n", encoding="utf-8")
    with pytest.raises(UsageError, match="extends itself"):
        load_recipe(tmp_path / "a.yaml")
    for number in range(30):
        text = f"extends: r{number + 1}.yaml\n"
        (tmp_path / f"r{number}.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="too many others"):
        load_recipe(tmp_path / "r0.yaml")

"""What cannot be compared is refused before anything is trained."""

from pathlib import Path

import pytest

from assay.errors import AssayError, UsageError
from assay.recipe import Recipe
from assay.workflow import resume_variants, train_variants


def named(recipe: Recipe, name: str, **train: object) -> Recipe:
    return recipe.model_copy(update={"name": name, "train": recipe.train.model_copy(update=train)})


def test_weights_that_cannot_be_had_are_known_at_once(colours: Path, tiny: Recipe, tmp_path: Path):
    net = tiny.net.model_copy(update={"weights": str(tmp_path / "nothing.safetensors")})
    recipes = {"good": named(tiny, "good"), "bad": tiny.model_copy(update={"net": net})}
    with pytest.raises(UsageError, match=r"^bad: weights .*nothing"):
        train_variants(colours, recipes, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_variants_with_different_photos_are_refused(colours: Path, tiny: Recipe, tmp_path: Path):
    with pytest.raises(UsageError, match="same photos"):
        train_variants(colours, {"a": tiny, "b": named(tiny, "b", seed=1)}, tmp_path / "run")
    with pytest.raises(UsageError, match="two variants"):
        train_variants(colours, {"a": tiny}, tmp_path / "run")


def test_a_crossval_is_no_list_of_variants(tmp_path: Path):
    (tmp_path / "crossval.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match=r"variants\.json"):
        resume_variants(tmp_path)
    (tmp_path / "variants.json").write_text("{", encoding="utf-8")
    with pytest.raises(AssayError, match="damaged"):
        resume_variants(tmp_path)

"""Search spaces: values of `--set`, values and ranges of recipes."""

import pytest

from assay.core.errors import UsageError
from assay.pipeline.search_space import SearchSpace
from assay.recipe import TuneSpec, load_recipe


def _space(*settings: str, **spec: object) -> SearchSpace:
    return SearchSpace.of(TuneSpec.model_validate({"space": spec.get("space", {})}), settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], [()]),
        (["a=1"], [("a=1",)]),
        (["a=1,2", "b=[],[3,4]"], [("a=1", "b=[]"), ("a=1", "b=[3,4]"), ("a=2", "b=[]"), ("a=2", "b=[3,4]")]),
        (["a={x: 1, y: 2}"], [("a={x: 1, y: 2}",)]),
        (["a=1,2,1"], [("a=1",), ("a=2",)]),
    ],
    ids=["none", "one", "product", "mapping", "twice"],
)
def test_commas_outside_brackets_separate_values(settings: list[str], expected: list[tuple[str, ...]]):
    assert list(_space(*settings).combinations()) == expected


@pytest.mark.parametrize("setting", ["train.lr", "train.lr=", "=3", "train.lr=1,,2"])
def test_setting_without_a_value_is_rejected(setting: str):
    with pytest.raises(UsageError, match="must look like"):
        _space(setting)


def test_setting_given_twice_is_rejected():
    with pytest.raises(UsageError, match=r"--set a is given twice: give its values together"):
        _space("a=1", "b=2", "a=3")


def test_values_of_a_recipe_are_written_as_set_reads_them():
    values = {
        "train.lr": [0.1, 1e-3],
        "net.head.hidden": [[], [64]],
        "train.early_stopping": [None],
        "train.balance": ["none"],
    }
    space = _space("train.lr=1e-2", space=values)
    (first, *_) = space.combinations()
    assert first == ("train.lr=1e-2", "net.head.hidden=[]", "train.early_stopping=null", "train.balance=none")
    assert space.count == 2
    recipe = load_recipe("defect-lite", [*first, "train.strategy=probe"])
    assert (recipe.train.lr, recipe.train.early_stopping, recipe.train.balance) == (0.01, None, "none")


def test_number_of_trials():
    ranged = _space(space={"train.lr": {"low": 1e-4, "high": 0.1}})
    assert [ranged.trial_count(number) for number in (None, 3)] == [20, 3]
    listed = _space("a=1,2", "b=1,2,3")
    assert [listed.trial_count(number) for number in (None, 3, 6, 100)] == [None, 3, None, None]
    assert ranged.range_below(["data", "train"]) == "train"
    assert ranged.range_below(["train.lrs", "tra"]) is None


def test_the_space_is_stored_in_a_recipe():
    space = _space("train.epochs=3,5", space={"train.lr": {"low": 1e-4, "high": 0.1, "log": True}})
    recipe = space.stored_in(load_recipe("defect-lite"), 7, None)
    assert SearchSpace.of(recipe.tune) == space
    assert (recipe.tune.trials, recipe.tune.halving) == (7, None)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{train.lr: {low: 1, high: 0.1}}", r"low \(1\) must be less than high"),
        ("{train.lr: {low: 0, high: 1, log: true}}", "must be positive on a logarithmic scale"),
        ("{train.lr: []}", "train.lr"),
        ("{train.lr: 3}", "train.lr"),
    ],
)
def test_a_wrong_space_is_one_sentence(space: str, message: str):
    with pytest.raises(UsageError, match=message) as caught:
        load_recipe("defect-lite", [f"tune.space={space}"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tune", "tune.space", "tune.space.train", "tune.trials"])
def test_settings_of_the_search_are_no_settings_of_a_trial(name: str):
    with pytest.raises(UsageError, match=f"^{name} belongs to the search"):
        _space(f"{name}=3")
    with pytest.raises(UsageError, match=f"^{name} belongs to the search"):
        _space(space={name: [3]})
    assert list(_space("tune.halving=null").combinations()) == [("tune.halving=null",)]

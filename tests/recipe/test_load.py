"""Recipes: values of the built-in recipes, overrides and errors."""

import re
from pathlib import Path

import pytest

from assay.core.errors import UsageError
from assay.recipe import TrainSpec, dump_recipe, load_recipe, parse_recipe, recipe_names

SYSTEMS = [
    "bottle",
    "button-cell",
    "custom-resnet",
    "default",
    "defect",
    "vehicle-animal",
    "vehicle-animal-resnet50v2",
]


def transforms(name: str) -> dict[str, dict[str, object]]:
    return {item.name: item.model_dump() for item in load_recipe(name).augment.train}


def test_built_in_recipes_exist():
    assert set(SYSTEMS) <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_dumped_recipe_survives_a_round_trip(name: str, tmp_path: Path):
    recipe = load_recipe(name)
    path = tmp_path / "recipe.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert recipe.name == name


def test_button_cell_has_every_value_of_its_system():
    recipe, train = load_recipe("button-cell"), load_recipe("button-cell").train
    assert (recipe.data.split.train, recipe.data.split.val) == (0.8, 0.2)
    assert (recipe.net.name, recipe.net.weights, recipe.preprocess.size) == ("resnet50", "imagenet", 224)
    assert recipe.preprocess.mean is None  # the weights' own: tests/nets proves ImageNet's for ResNets
    assert (train.strategy, train.optimizer, train.lr, train.epochs) == ("finetune", "adam", 1e-5, 20)
    assert train.balance == "sampler"
    assert train.early_stopping is not None
    assert train.early_stopping.metric == "val_accuracy"
    changes = transforms("button-cell")
    assert list(changes) == [
        "random_resized_crop",
        "horizontal_flip",
        "vertical_flip",
        "rotate",
        "color_jitter",
    ]
    assert changes["rotate"]["degrees"] == 20
    jitter = changes["color_jitter"]
    assert [jitter[key] for key in ("brightness", "contrast", "saturation", "hue")] == [0.3, 0.3, 0.3, 0.1]


def test_bottle_has_every_value_of_its_system():
    recipe, train = load_recipe("bottle"), load_recipe("bottle").train
    assert recipe.preprocess.roi == (0, 0, 1, 0.3)
    split = recipe.data.split
    assert (split.train, split.val, split.test) == (0.7, 0.15, 0.15)
    assert recipe.data.min_images_per_class == 100
    assert (recipe.net.name, train.strategy) == ("resnet18", "finetune")
    assert train.freeze > 0
    assert (train.batch_size, train.lr, train.weight_decay, train.epochs) == (128, 1e-3, 1e-4, 30)
    assert train.early_stopping is not None
    assert train.early_stopping.patience == 5
    changes = transforms("bottle")
    assert (changes["rotate"]["degrees"], changes["rotate"]["p"]) == (10, 0.7)
    assert changes["horizontal_flip"]["p"] == 0.5
    assert changes["brightness"]["factor"] == (0.8, 1.2)
    assert changes["gaussian_noise"]["variance"] == (10, 50)
    assert changes["motion_blur"]["kernel"] == changes["gaussian_blur"]["kernel"] == (3, 7)
    assert changes["optical_distortion"]["limit"] == 0.05
    assert changes["grid_distortion"]["steps"] == 5
    assert "contrast" in changes
    serve = recipe.serve
    assert (serve.service_name, serve.label_field) == ("bottle-classifier-api", "Bottle_Status")
    assert (serve.confidence_field, serve.max_megabytes, serve.max_side) == ("Confidence", 16, 4096)


def test_custom_resnet_has_every_value_of_its_system():
    recipe, train = load_recipe("custom-resnet"), load_recipe("custom-resnet").train
    assert (recipe.preprocess.size, recipe.preprocess.mean, recipe.preprocess.std) == (
        64,
        (0.5,) * 3,
        (0.5,) * 3,
    )
    assert (recipe.net.name, recipe.net.resnet.widths, recipe.net.resnet.stem) == (
        "resnet",
        (64, 128),
        "conv7",
    )
    assert (train.strategy, train.optimizer, train.batch_size, train.epochs) == ("scratch", "adam", 64, 15)
    assert train.weight_decay > 0
    assert recipe.live.fps == 2


def test_vehicle_animal_has_both_networks():
    a, b = load_recipe("vehicle-animal"), load_recipe("vehicle-animal-resnet50v2")
    mapping = {
        "vehicle": ("airplane", "automobile", "ship", "truck"),
        "animal": ("bird", "cat", "deer", "dog", "frog", "horse"),
    }
    assert a.data.class_mapping == b.data.class_mapping == mapping
    assert (a.net.name, a.net.convnet.filters, a.net.convnet.dropout) == ("convnet", (32, 64, 128), 0.3)
    assert a.net.head.batch_norm
    assert a.net.head.dropout > 0
    assert a.net.head.l2 > 0
    assert (b.net.name, b.preprocess.size, b.train.lr) == ("resnet50v2", 224, 1e-4)
    assert (b.net.head.hidden, b.net.head.l2, b.train.optimizer) == ((512, 256), 1e-3, "adam")


def test_defect_has_every_value_of_its_system():
    recipe, train = load_recipe("defect"), load_recipe("defect").train
    assert (recipe.net.name, train.strategy) == ("resnet18", "probe")
    assert (train.optimizer, train.lr, train.batch_size, train.epochs) == ("adam", 1e-3, 100, 1)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.epochs=5", 5),
        ("train.lr=1e-4", 1e-4),
        ("train.early_stopping=null", None),
        ("name=my bottles", "my bottles"),
    ],
)
def test_override_sets_one_value(override: str, value: object):
    target: object = load_recipe("bottle", [override])
    for key in override.split("=", maxsplit=1)[0].split("."):
        target = getattr(target, key)
    assert target == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=5", "'epochs'"),
        ("trian.epochs=5", "'train'"),
        ("data.split.tset=1", "'test'"),
        ("augment.train=[{name: rotate, degree: 3}]", "'degrees'"),
        ("train.epochs=0", "train.epochs"),
        ("train.epochs=many", "train.epochs"),
        ("net.name=resnet19", "resnet18"),
        ("data.split.train=0.9", "must be 1"),
        ("preprocess.roi=[0.5, 0, 0.5, 1]", "empty"),
        ("augment.train=[{name: brightness, factor: [2, 1]}]", "ascend"),
        ("train.epochs", "must look like"),
        ("=5", "must look like"),
        ("train.epochs=[", "no valid value"),
    ],
)
def test_invalid_override_gives_a_hint(override: str, message: str):
    with pytest.raises(UsageError) as caught:
        load_recipe("default", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_extends_a_recipe(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: bottle\nname: mine\ntrain: {epochs: 3}\n", encoding="utf-8")
    recipe = load_recipe(path)
    assert (recipe.name, recipe.train.epochs, recipe.train.batch_size) == ("mine", 3, 128)


def test_file_extends_a_file_beside_it(tmp_path: Path):
    (tmp_path / "base.yaml").write_text("extends: defect\nname: base\n", encoding="utf-8")
    (tmp_path / "top.yaml").write_text("extends: base.yaml\n", encoding="utf-8")
    assert load_recipe(tmp_path / "top.yaml").name == "base"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epochs: [}", "line 1"),
        ("- a\n- b\n", "names with values"),
        ("extends: mine.yaml\n", "extends itself"),
        ("extends: nowhere.yaml\n", "nowhere.yaml does not exist"),
        ("extends: nowhere\n", "no recipe is called"),
        ('extends: "a\\0b"\n', "no recipe is called"),
        ("extends: circle.yaml\n", "circle.yaml does not exist"),
        ("train: 5\n", "train"),
    ],
)
def test_broken_file_raises(tmp_path: Path, text: str, message: str):
    (tmp_path / "circle.yaml").symlink_to("circle.yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_recipe(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_name_suggests_the_closest():
    with pytest.raises(UsageError, match="'bottle'"):
        load_recipe("botle")


def test_binary_file_is_rejected(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError, match="UTF-8"):
        load_recipe(path)


def test_nested_values_are_validated():
    with pytest.raises(UsageError, match="class_mapping names 'cat' more than once"):
        parse_recipe({"data": {"class_mapping": {"a": ["cat"], "b": ["cat"]}}}, "x")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"needs data\.class_mapping"),
        (["data.class_mapping={a: [cat], b: [dog]}", "train.strategy=probe"], r"train\.strategy=probe"),
        (["data.class_mapping={a: [cat], b: [dog]}", "train.balance=sampler"], r"train\.balance=sampler"),
        (["data.class_mapping={a: [cat], b: [dog]}", "train.objective=accuracy"], r"train\.objective=accuracy"),
    ],
)
def test_source_labels_are_refused_where_they_have_no_effect(overrides: list[str], message: str):
    with pytest.raises(UsageError, match=message):
        load_recipe("bottle", ["train.strategy=finetune", "train.source_labels=true", *overrides])


@pytest.mark.parametrize(
    ("overrides", "messages"),
    [
        (
            ["train.strategy=probe", "train.balance=sampler", "train.objective=accuracy", "train.source_labels=true"],
            ["data.class_mapping", "train.strategy=probe", "train.balance=sampler", "train.objective=accuracy"],
        ),
        (
            ["train.strategy=auto", "train.balance=weights", "train.freeze=1", "train.source_labels=true"],
            ["train.strategy=auto", "train.balance=weights", "ignores train.balance", "ignores train.freeze"],
        ),
        (["train.strategy=auto", "net.head.hidden=[8]", "net.name=convnet"], ["pretrained weights", "linear head"]),
    ],
)
def test_all_conflicts_are_named(overrides: list[str], messages: list[str]):
    with pytest.raises(UsageError) as caught:
        load_recipe("bottle", overrides)
    assert [message for message in messages if message not in str(caught.value)] == []


UNQUOTED = [
    "yes",
    "On",
    "NO",
    "off",
    "true",
    "007",
    "010",
    "1.50",
    "12_000",
    "0x1F",
    "1:30",
    "null",
    "~",
    "2024-01-01",
]


@pytest.mark.parametrize("name", UNQUOTED)
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("data: {class_mapping: {good: [a, NAME], bad: [b]}}", r"data\.class_mapping\.good\.1"),
        ("data: {class_mapping: {good: [a], NAME: [b]}}", r"data\.class_mapping\."),
        ("data:\n  class_mapping:\n    good: [a]\n    bad:\n    - NAME\n", r"data\.class_mapping\.bad\.0"),
    ],
)
def test_ambiguous_class_names_must_be_quoted(tmp_path: Path, text: str, place: str, name: str):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: default\n" + text.replace("NAME", name), encoding="utf-8")
    with pytest.raises(UsageError, match=rf"mine\.yaml: {place}.* put it in quotes"):
        load_recipe(path)
    path.write_text("extends: default\n" + text.replace("NAME", f"'{name}'"), encoding="utf-8")
    mapping = load_recipe(path).data.class_mapping or {}
    assert name in {*mapping, *(source for sources in mapping.values() for source in sources)}


@pytest.mark.parametrize("name", ["no", "007", "1e3", "nan"])
def test_settings_that_name_a_class_accept_quotes(name: str):
    with pytest.raises(UsageError, match=r"data\.positive_class: .* put it in quotes"):
        load_recipe("default", [f"data.positive_class={name}"])
    assert load_recipe("default", [f"data.positive_class='{name}'"]).data.positive_class == name
    assert load_recipe("default", ["train.lr=1e-3"]).train.lr == 1e-3


@pytest.mark.parametrize(
    ("override", "setting"),
    [
        ("train.epochs=yes", "train.epochs"),
        ("train.lr=on", "train.lr"),
        ("train.ema_decay=off", "train.ema_decay"),
        ("train.workers=no", "train.workers"),
        ("serve.max_side=true", "serve.max_side"),
        ("data.split.val=no", "data.split.val"),
        ("abstain.target_precision=yes", "abstain.target_precision"),
        ("net.head.hidden=[64, yes]", "net.head.hidden"),
        ("preprocess.fill=[yes, 1, 1]", "preprocess.fill"),
        ("preprocess.roi=[0, 0, 1, on]", "preprocess.roi"),
        ("preprocess.value_range=[no, yes]", "preprocess.value_range"),
        ("augment.offline.copies=yes", "augment.offline.copies"),
        ("augment.train=[{name: rotate, degrees: yes}]", "augment.train.0.rotate.degrees"),
    ],
)
def test_yes_and_no_are_not_numbers(override: str, setting: str):
    with pytest.raises(UsageError) as caught:
        load_recipe("default", [override])
    assert str(caught.value).startswith(f"recipe default: {setting}: must be a number, not ")
    assert str(caught.value).count("must be") == 1


@pytest.mark.parametrize("value", ["yes", "true", "on"])
def test_yes_is_accepted_for_boolean_settings(value: str):
    assert load_recipe("default", [f"train.tensorboard={value}"]).train.tensorboard is True


def test_booleans_are_rejected_for_numbers_in_python():
    with pytest.raises(ValueError, match="must be a number, not true"):
        TrainSpec(epochs=True)


def test_precision_may_be_a_number():
    assert load_recipe("default", ["train.precision=32"]).train.precision == "32"
    with pytest.raises(UsageError, match=r"train\.precision"):
        load_recipe("default", ["train.precision=16"])


@pytest.mark.parametrize("override", ["..=3", "train.=3", ".epochs=3", "train..epochs=3", ".=3"])
def test_an_override_with_an_empty_part_is_named(override: str):
    with pytest.raises(UsageError, match=f"^--set '{re.escape(override)}' must look like train.epochs=5$"):
        load_recipe("default", [override])

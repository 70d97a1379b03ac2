"""Recognize the names of train, validation and test splits in folder names and table columns."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Literal

from assay.data.dataset import Split

_Role = Literal["train", "val", "test", "eval"]
_WORDS: Mapping[str, _Role] = {
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("val", "vali", "valid", "validate", "validating", "validation"), "val"),
    **dict.fromkeys(("dev", "devel", "development"), "val"),
    **dict.fromkeys(("test", "tests", "testing", "tst", "holdout", "heldout"), "test"),
    "publictest": "val",  # FER2013, and contests with a public leaderboard
    "privatetest": "test",
    **dict.fromkeys(("eval", "evaluate", "evaluation"), "eval"),
}
_FILLER_WORDS = ("sets", "set", "dataset", "data", "images", "image", "imgs", "img", "photos", "pictures", "pics")
"""Words without meaning: training_set, testdata, val_images."""
_REMOVED_WORDS = frozenset({*_FILLER_WORDS, "split", "folder", "dir", "files", "samples", "photo", "picture", "the"})
_YEAR = re.compile(r"(?<![0-9])(19|20)[0-9]{2}$")
_NUMBER = re.compile(r"^[0-9]{1,2}[-_. ]+")


def parse_split_name(name: str) -> Split | None:
    """Return the split that `name` stands for, in any case, or None.

    `Training`, `test_set`, `val2017`, `01_train`, `dev` and `holdout` are known; `eval` alone is the test split.
    """
    role = _role(name)
    return "test" if role == "eval" else role


def parse_split_names(names: Iterable[str]) -> dict[str, Split]:
    """Return the split of every sibling name that stands for one.

    `eval` is the test split, unless another name is: then it is the validation split.
    """
    roles = {name: role for name in names if (role := _role(name))}
    evaluation: Split = "val" if "test" in roles.values() else "test"
    return {name: evaluation if role == "eval" else role for name, role in roles.items()}


def find_split_folders(names: Iterable[str]) -> dict[str, Split]:
    """Return the split of each folder of a data set; empty if they are not split folders.

    They are if all names are splits, if train is beside val or test, or if such names share an affix: `seg_train` and
    `seg_test`.
    """
    ordered = list(names)
    known = parse_split_names(ordered)
    if known and (len(known) == len(ordered) or _has_train_and_more(known)):
        return known
    return next(iter(_splits_by_affix(ordered).values()), {})


def find_classes_in_split_names(names: Iterable[str]) -> list[str]:
    """Return the classes of folders named by class and split: `cat_train`, `cat_test`, `trainA`.

    Empty if some folder has another name, or there are fewer than two such classes.
    """
    ordered = list(names)
    found = _splits_by_affix(ordered)
    if len(found) < 2 or sum(map(len, found.values())) < len(ordered):
        return []
    return [" ".join(word for word in addition if word) for addition in found]


def _splits_by_affix(names: Iterable[str]) -> dict[tuple[str, ...], dict[str, Split]]:
    """Return the splits whose names share an affix and include train, by affix."""
    additions: dict[tuple[str, ...], dict[str, str]] = {}
    for name in names:
        words = _words(name)
        for place, word in enumerate(words):
            if word in _WORDS:
                additions.setdefault((*words[:place], "", *words[place + 1 :]), {})[name] = word
    whole = {}
    for addition, members in additions.items():
        parts = parse_split_names(members.values())
        found = {name: parts[word] for name, word in members.items()}
        if len(found) == len(set(found.values())) and _has_train_and_more(found):
            whole[addition] = found
    return whole


def _has_train_and_more(parts: Mapping[str, Split]) -> bool:
    found = set(parts.values())
    return "train" in found and len(found) > 1


def _role(name: str) -> _Role | None:
    words = _words(name)
    if any(word.isdigit() for word in words):
        return None
    joined = "".join(word for word in words if word not in _REMOVED_WORDS)
    for filler in ("", *_FILLER_WORDS):
        if joined.endswith(filler) and (role := _WORDS.get(joined.removesuffix(filler))):
            return role
    return None


def _words(name: str) -> list[str]:
    """Return the words and numbers of a name, without a leading number (`01_train`) or a trailing year."""
    text = unicodedata.normalize("NFKC", name).strip()
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    text = _YEAR.sub("", _NUMBER.sub("", text.casefold()))
    return re.findall(r"[^\W\d_]+|[0-9]+", text)

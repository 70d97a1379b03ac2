"""Parsing of rules, and when they trigger events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import UsageError
from assay.live import Rule, SmoothedPrediction
from assay.live.rules import RuleTrigger

CLASSES = ("cat", "dog", "grey seal", "not sure", "unknown thing")


def answer(*, unknown: bool | None = False, **shares: float) -> SmoothedPrediction:
    named = {name.replace("_", " "): share for name, share in shares.items()}
    full = dict.fromkeys(CLASSES, 0.0) | named
    best = max(full, key=full.__getitem__)
    return SmoothedPrediction(best, full[best], full, unknown, "low_confidence" if unknown else None, changed=False)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("cat", Rule("cat", ("cat",))),
        ("cat>0.9 for 1s", Rule("", ("cat",), 0.9, hold=1)),
        ("cat >= .5", Rule("", ("cat",), 0.5)),
        ("cat|dog > 0.8 for 300ms", Rule("", ("cat", "dog"), 0.8, hold=0.3)),
        ("grey seal for 2 s", Rule("", ("grey seal",), hold=2)),
        ("not cat for 1m", Rule("", ("cat",), negated=True, hold=60)),
        ("not sure", Rule("", ("not sure",))),
        ("unknown for 5s", Rule("", (), hold=5)),
        ("not unknown", Rule("", (), negated=True)),
        ("unknown thing>0.1", Rule("", ("unknown thing",), 0.1)),
    ],
)
def test_rules_are_parsed(text: str, rule: Rule):
    found = Rule.parse(text, CLASSES)
    assert (found.names, found.above, found.negated, found.hold) == (
        rule.names,
        rule.above,
        rule.negated,
        rule.hold,
    )
    assert found.text == text


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "not a rule"),
        ("cow", "has no class 'cow'"),
        ("cat|cow", "has no class 'cow'"),
        ("cat>1.5", "not a probability"),
        ("cat>1..2", "not a probability"),
        ("cat for 9y", "not a duration"),
        ("unknown>0.5", "has no probability"),
        ("cat<0.5", "has no class"),
    ],
)
def test_invalid_rules_raise_a_usage_error(text: str, word: str):
    with pytest.raises(UsageError, match=word):
        Rule.parse(text, CLASSES)


@given(st.text())
def test_arbitrary_text_is_parsed_or_rejected(text: str):
    try:
        rule = Rule.parse(text, CLASSES)
    except UsageError:
        return
    assert set(rule.names) <= set(CLASSES)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("cat", True),
        ("dog", False),
        ("not dog", True),
        ("cat>0.7", False),
        ("cat|dog>0.8", True),
        ("not cat>0.7", True),
        ("unknown", False),
        ("not unknown", True),
    ],
)
def test_prediction_matches_a_rule(text: str, matches: bool):
    assert Rule.parse(text, CLASSES).matches(answer(cat=0.6, dog=0.3)) is matches


@pytest.mark.parametrize("text", ["cat", "not cat", "cat>0.1", "not dog"])
def test_unknown_matches_neither_a_class_nor_its_negation(text: str):
    assert not Rule.parse(text, CLASSES).matches(answer(cat=0.9, unknown=True))


def events(trigger: RuleTrigger, labels: str, step: float = 0.1) -> list[int]:
    """Return the frames that are events; `c` is a frame with a cat."""
    answers = {"c": answer(cat=0.95), "-": answer(dog=0.95)}
    return [place for place, letter in enumerate(labels) if trigger.update(answers[letter], place * step)]


def test_rule_must_hold_without_interruption_and_triggers_once():
    trigger = RuleTrigger(Rule.parse("cat>0.9 for 300ms", CLASSES))
    assert events(trigger, "cc-ccc-cccccccccc-cccc") == [10, 21]


def test_cooldown_delays_the_next_event():
    trigger = RuleTrigger(Rule.parse("cat", CLASSES), cool_down=1.0)
    # The third cat comes within the cool-down and is still there when it ends; the second is not.
    assert events(trigger, "c--c--cccccccccccc") == [0, 10]


def test_gaps_between_frames_do_not_count():
    trigger = RuleTrigger(Rule.parse("cat for 1s", CLASSES))
    assert not trigger.update(answer(cat=1.0), 0)
    trigger.reset()
    assert not trigger.update(answer(cat=1.0), 60)
    assert trigger.update(answer(cat=1.0), 61)

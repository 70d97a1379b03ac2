"""Learning-rate schedules and stages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.recipe import TrainSpec
from assay.training import EpochMetrics
from assay.training.training_schedule import ReduceOnPlateau, TrainingSchedule, lr_factor, make_plateau


def spec(**settings: object) -> TrainSpec:
    return TrainSpec.model_validate(settings)


def epoch_of(number: int, val_loss: float) -> EpochMetrics:
    return EpochMetrics(number, 0, 0, val_loss, 0, 0, 0)


@given(
    schedule=st.sampled_from(["constant", "cosine", "onecycle", "plateau"]),
    epochs=st.integers(1, 8),
    steps_per_epoch=st.integers(1, 30),
    warmup=st.integers(0, 10),
)
def test_every_rate_is_a_fraction_of_the_peak(schedule: str, epochs: int, steps_per_epoch: int, warmup: int):
    steps = epochs * steps_per_epoch
    settings = spec(schedule=schedule, epochs=epochs, warmup_epochs=warmup)
    assert all(0 < lr_factor(settings, step, steps, steps_per_epoch) <= 1 for step in range(steps))


def test_constant_schedule():
    assert {lr_factor(spec(schedule="constant"), step, 40, 10) for step in range(40)} == {1.0}


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warmup_rises_from_a_hundredth_to_the_peak(schedule: str):
    settings = spec(schedule=schedule, warmup_epochs=2)
    course = [lr_factor(settings, step, 100, 10) for step in range(21)]
    assert course[0] == pytest.approx(0.01)
    assert course[10] == pytest.approx(0.505)
    assert course[20] == 1.0
    assert course == sorted(course)


def test_cosine_schedule():
    settings = spec(schedule="cosine")
    assert lr_factor(settings, 0, 100, 10) == 1.0
    assert lr_factor(settings, 50, 100, 10) == pytest.approx(0.5)
    assert lr_factor(settings, 99, 100, 10) == pytest.approx(0, abs=1e-3)


def test_one_cycle_schedule():
    course = [lr_factor(spec(schedule="onecycle"), step, 100, 10) for step in range(100)]
    assert course[0] == pytest.approx(1 / 25)
    assert course.index(max(course)) == 29
    assert max(course) == 1.0
    assert course[-1] == pytest.approx(1 / 25 / 1e4)


def test_one_cycle_equals_that_of_torch():
    import torch  # noqa: PLC0415

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=50, cycle_momentum=False)
    for step in range(50):
        assert lr_factor(spec(schedule="onecycle"), step, 50, 10) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step() if step < 49 else None


def test_plateau_divides_by_ten_after_patience():
    plateau = ReduceOnPlateau(patience=2)
    course = []
    for score in (0.5, 0.6, 0.6, 0.55, 0.5, 0.5, 0.7):
        plateau.update(score)
        course.append(plateau.factor)
    assert course == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01])


def test_plateau_requires_an_improvement_above_min_delta():
    plateau = ReduceOnPlateau(patience=1, min_delta=0.1)
    plateau.update(0.5)
    plateau.update(0.6 - 1e-9)
    assert plateau.reductions == 1
    plateau.update(0.7)
    assert plateau.reductions == 1


@pytest.mark.parametrize(
    ("stopping", "patience"), [({"patience": 8}, 4), ({"patience": 1}, 1), ({"patience": 5}, 2), (None, 5)]
)
def test_plateau_uses_half_of_the_patience_of_early_stopping(stopping: dict[str, int] | None, patience: int):
    found = make_plateau(spec(schedule="plateau", early_stopping=stopping))
    assert found is not None
    assert found.patience == patience


def test_other_schedules_have_no_plateau():
    assert make_plateau(spec(schedule="cosine")) is None


def test_staged_strategy_trains_the_head_first():
    staged = {"head_epochs": 2, "head_lr": 0.5}
    settings = spec(strategy="staged", epochs=6, lr=0.1, schedule="cosine", warmup_epochs=1, staged=staged)
    schedule = TrainingSchedule(settings, 10)
    assert [schedule.trains_only_head(epoch) for epoch in range(4)] == [True, True, False, False]
    assert {schedule.learning_rate(step) for step in range(20)} == {0.5}
    assert schedule.learning_rate(20) == pytest.approx(0.001)
    assert schedule.learning_rate(30) == pytest.approx(0.1)
    assert schedule.learning_rate(59) < 0.001


def test_short_staged_run_trains_only_the_head():
    schedule = TrainingSchedule(spec(strategy="staged", epochs=2, staged={"head_epochs": 3, "head_lr": 0.5}), 4)
    assert schedule.head_epochs == 2
    assert {schedule.learning_rate(step) for step in range(8)} == {0.5}


@pytest.mark.parametrize(("strategy", "alone"), [("probe", True), ("finetune", False), ("scratch", False)])
def test_other_strategies_have_one_stage(strategy: str, alone: bool):
    schedule = TrainingSchedule(spec(strategy=strategy, epochs=3, lr=0.1), 4)
    assert [schedule.trains_only_head(epoch) for epoch in range(3)] == [alone] * 3
    assert schedule.head_epochs == 0
    assert schedule.learning_rate(0) == 0.1


def test_plateau_lowers_the_rate():
    stopping = {"metric": "val_loss", "patience": 2}
    settings = spec(strategy="finetune", lr=0.1, schedule="plateau", early_stopping=stopping)
    schedule = TrainingSchedule(settings, 4, [epoch_of(number, 1.0) for number in (1, 2, 3)])
    assert schedule.learning_rate(3) == pytest.approx(0.001)

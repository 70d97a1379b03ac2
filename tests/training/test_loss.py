"""The training loss, class weights and the accumulator of metrics."""

import numpy as np
import torch
from torch.nn import functional

from assay.training.loss import MetricAccumulator, cross_entropy

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.25, 0.0], [0.0, 3.0, 0.0]])
TARGETS = torch.tensor([0, 2, 1])


def test_loss_equals_that_of_torch():
    expected = functional.cross_entropy(LOGITS, TARGETS, label_smoothing=0.1)
    torch.testing.assert_close(cross_entropy(LOGITS, TARGETS, smoothing=0.1), expected)


def test_class_weights_multiply_the_loss_of_each_image():
    weights = torch.tensor([1.0, 0.5, 4.0])
    expected = functional.cross_entropy(LOGITS, TARGETS, weights, reduction="sum") / len(TARGETS)
    torch.testing.assert_close(cross_entropy(LOGITS, TARGETS, weights), expected)


def test_batch_of_one_class_keeps_its_weight():
    alone = torch.tensor([1, 1, 1])
    weighted = cross_entropy(LOGITS, alone, torch.tensor([1.0, 0.5, 4.0]))
    torch.testing.assert_close(weighted, 0.5 * cross_entropy(LOGITS, alone))


def test_half_precision_logits_are_summed_in_float32():
    assert cross_entropy(LOGITS.bfloat16(), TARGETS).dtype == torch.float32


def test_accumulator_weights_batches_by_size():
    meter = MetricAccumulator()
    meter.add(torch.tensor(1.0), LOGITS, TARGETS)
    meter.add(torch.tensor(5.0), LOGITS[:1], torch.tensor([1]))
    assert meter.losses().tolist() == [1.0, 5.0]
    assert meter.means() == (2.0, 0.5)
    assert len(meter) == 2


def test_loss_of_several_networks_is_that_of_each():
    weights, several = torch.tensor([1.0, 0.5, 4.0]), torch.stack([LOGITS, -LOGITS])
    found = cross_entropy(several, TARGETS, weights, smoothing=0.1)
    each = [cross_entropy(logits, TARGETS, weights, smoothing=0.1) for logits in several]
    torch.testing.assert_close(found, torch.stack(each))


def test_accumulator_keeps_several_networks_separate():
    meter = MetricAccumulator()
    meter.add(torch.tensor([1.0, 3.0]), torch.stack([LOGITS, -LOGITS]), TARGETS)
    meter.add(torch.tensor([5.0, 7.0]), torch.stack([LOGITS[:1], LOGITS[:1]]), torch.tensor([1]))
    losses, accuracies = meter.means()
    np.testing.assert_allclose(losses, [2.0, 4.0])
    np.testing.assert_allclose(accuracies, [0.5, 0.25])

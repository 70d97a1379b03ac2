"""The LightningModule of a run: training and validation steps, and the optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn, optim

from assay.core.errors import AssayError
from assay.nets import ClassifierNetwork
from assay.training.checkpoint_validation import check_optimizer_state
from assay.training.dataloaders import Batch
from assay.training.distributed import ProcessGroup
from assay.training.loss import MetricAccumulator, check_finite, cross_entropy
from assay.training.optimizers import frozen_stage_count, make_optimizer, parameter_groups, set_learning_rate
from assay.training.random_streams import RandomStream, epoch_seed
from assay.training.training_schedule import TrainingSchedule

_FINITE_CHECK_INTERVAL = 50


class ClassifierModule(LightningModule):
    """The training of a network on images, or of its head alone on cached embeddings.

    Args:
        network: changed in place.
        schedule: learning rates, and the layers that train in an epoch.
        on_embeddings: batches contain embeddings, and only the head is trained.
        class_weights: float32 [C], class weights of the loss; none: all 1.
        first_epoch: number of finished epochs of a resumed run.
        group: the processes that share every batch; None: this process alone.
        batch_sizes: images of the batches of training and of validation, over all processes.
        optimizer_state: the optimizer's state after those epochs.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        network: ClassifierNetwork,
        schedule: TrainingSchedule,
        *,
        on_embeddings: bool = False,
        class_weights: Tensor | None = None,
        first_epoch: int = 0,
        group: ProcessGroup | None = None,
        batch_sizes: tuple[Sequence[int], Sequence[int]] = ((), ()),
        optimizer_state: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.on_embeddings = on_embeddings
        self.register_buffer("class_weights", class_weights)
        self.train_metrics = MetricAccumulator()
        self._val_metrics = MetricAccumulator()
        self._first_epoch = first_epoch
        self._group = group or ProcessGroup()
        self._train_sizes, self._val_sizes = batch_sizes
        self._optimizer_state = optimizer_state
        self._frozen = frozen_stage_count(network, schedule.spec)
        network.freeze_batch_norm = schedule.spec.freeze_batch_norm
        network.freeze(self._frozen)

    @property
    def trained_module(self) -> nn.Module:
        """The module that a checkpoint contains: the network, or only its head if that alone is trained."""
        return self.network.head if self.on_embeddings else self.network

    @property
    def epoch(self) -> int:
        """The epoch of the whole run, counted from 0; Lightning counts from the resumed epoch."""
        return self._first_epoch + self.current_epoch

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits [N, C] of a batch of inputs."""
        embeddings = inputs if self.on_embeddings else self.network.featuremap(inputs).float().mean(dim=(2, 3))
        # The head is computed in 32 bits at every precision: bf16 would round the logits to 8 bits and gain no time.
        with torch.autocast(inputs.device.type, enabled=False):
            logits: Tensor = self.network.head(embeddings)
        return logits

    def configure_optimizers(self) -> optim.Optimizer:
        """Create the optimizer and restore its state."""
        spec = self.schedule.spec
        optimizer = make_optimizer(parameter_groups(self.network, spec), spec)
        if self._optimizer_state is not None:
            check_optimizer_state(self._optimizer_state, optimizer)
            optimizer.load_state_dict(dict(self._optimizer_state))
        return optimizer

    def configure_gradient_clipping(
        self,
        optimizer: optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Limit the norm of the gradient, which Lightning 2.6 refuses to do in bf16 with a fused optimizer."""
        del gradient_clip_algorithm
        if gradient_clip_val is not None:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def on_train_epoch_start(self) -> None:
        """Seed torch's generators and unfreeze the layers that train in this epoch."""
        spec = self.schedule.spec
        torch.manual_seed(epoch_seed(spec.seed, RandomStream.TORCH, self.epoch))
        self.network.freeze(self.network.depth if self.schedule.trains_only_head(self.epoch) else self._frozen)
        self.network.train()
        self.train_metrics = MetricAccumulator()

    def on_before_batch_transfer(self, batch: Batch | AssayError, dataloader_idx: int) -> Batch:
        """Raise the error of the worker process that prepared the batch."""
        del dataloader_idx
        if isinstance(batch, AssayError):
            raise batch
        return batch

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of this step."""
        del batch
        set_learning_rate(
            self._optimizer, self.schedule.learning_rate(self.epoch * self.schedule.steps_per_epoch + batch_idx)
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch: cross-entropy plus the head's L2 penalty."""
        inputs, targets = batch
        logits = self(inputs)
        loss = cross_entropy(logits, targets, self.class_weights, self.schedule.spec.label_smoothing)
        penalty = self.network.l2_penalty()
        self.train_metrics.add(loss + penalty, logits, targets, self._share(self._train_sizes, batch_idx))
        if self._group.size > 1:
            loss = loss * self._group.loss_weight(self._train_sizes[batch_idx])
        loss = loss + penalty
        # All losses are checked at the end of the epoch; a check now and then saves hours of a long one.
        if batch_idx % _FINITE_CHECK_INTERVAL == 0:
            check_finite([float(loss.detach())], self.epoch, self.schedule.spec)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Raise if training has diverged, before this epoch is recorded."""
        self.train_metrics.reduce(self._group)
        check_finite(self.train_metrics.losses(), self.epoch, self.schedule.spec)
        self._val_metrics = MetricAccumulator()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the epoch's metrics."""
        inputs, targets = batch
        logits = self(inputs)
        share = self._share(self._val_sizes, batch_idx)
        self._val_metrics.add(cross_entropy(logits, targets), logits, targets, share)

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's metrics as `val_loss` and `val_accuracy`."""
        self._val_metrics.reduce(self._group)
        loss, accuracy = self._val_metrics.means()
        check_finite([float(loss)], self.epoch, self.schedule.spec)
        self.log("val_loss", torch.tensor(loss, dtype=torch.float64))
        self.log("val_accuracy", torch.tensor(accuracy, dtype=torch.float64))

    def _share(self, sizes: Sequence[int], batch_idx: int) -> int | None:
        """Return how many images of a batch are this process's; None: all."""
        return self._group.share(sizes[batch_idx]) if self._group.size > 1 else None

    @property
    def learning_rate(self) -> float:
        """The current learning rate of the head."""
        return float(self._optimizer.param_groups[-1]["lr"])

    @property
    def _optimizer(self) -> optim.Optimizer:
        found = self.optimizers(use_pl_optimizer=False)
        if isinstance(found, list):
            raise TypeError("there must be one optimizer")
        return found

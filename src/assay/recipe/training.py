"""Settings of training: strategy, optimizer, learning rate schedule and early stopping."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from assay.recipe.base import Settings

MAX_EPOCHS = 100_000
"""Upper limit of every number of epochs."""


def _number_as_text(value: object) -> object:
    """Return an integer as text: YAML reads 32 as a number."""
    return str(value) if type(value) is int else value


class EarlyStoppingSpec(Settings):
    """Stop when a validation metric no longer improves."""

    metric: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    """The monitored metric."""
    patience: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 5
    """Epochs without improvement before training stops."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest change that counts as an improvement."""


class StagedSpec(Settings):
    """The two stages of strategy `staged`."""

    head_epochs: Annotated[int, Field(ge=0, le=MAX_EPOCHS)] = 3
    """Epochs in which only the head is trained; in the remaining epochs all layers are trained."""
    head_lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of the first stage."""
    early_lr_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Learning rate of the earliest layers in the second stage as a share of `train.lr`; it rises
    geometrically to the head."""


class AutoSpec(Settings):
    """What the strategy `auto` tries."""

    minutes: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Time for training, without the final evaluation; null: until nothing is left to try."""
    backbones: tuple[str, ...] | None = None
    """Other networks to try after `net.name`; their weights are downloaded if necessary. null: EfficientNet-Lite1 and
    -Lite2 and the published ResNets, as far as their weights are on this machine already."""
    intermediate_features: bool = True
    """Give linear probes the features of intermediate layers too (`net.intermediate_features`), and try without."""
    fine_tune: bool = True
    """Try fine-tuning all layers, starting like the best linear probe, with the other settings of `train`."""


class TrainSpec(Settings):
    """Strategy, optimizer, schedule and other settings of training."""

    strategy: Literal["auto", "scratch", "probe", "finetune", "staged"] = "staged"
    """auto: the best of several linear probes and of fine-tuning from them, by cross-validation; scratch: from random
    weights; probe: frozen backbone, only the head is trained; finetune: all layers;
    staged: first the head, then all layers with lower learning rates for the early ones."""
    objective: Literal["accuracy", "balanced_accuracy"] | None = None
    """What the predictions are optimized for. accuracy: the share of correct answers, for photos with class frequencies
    as in training; balanced_accuracy: the mean recall of the classes, as if all classes were equally frequent. The
    logits are adjusted by the class frequencies after training (logit adjustment). null: accuracy with `auto`; with
    the other strategies no adjustment, so that `balance` decides."""
    keep_epoch: Literal["best", "last"] = "best"
    """Whose weights are kept: those of the epoch with the best validation metric, or those of the last one."""
    freeze_batch_norm: bool = False
    """Keep the statistics of the backbone's batch norm layers; their scale and shift are trained."""
    augmentation_views: Annotated[int, Field(ge=0, le=1000)] = 0
    """With `probe` and augmentation: number of augmented views of every training photo whose embeddings are
    cached; 0: a new view in every epoch, for which every photo goes through the backbone again."""
    freeze: Annotated[int, Field(ge=0, le=10_000)] = 0
    """With `finetune`: number of early stages that stay frozen (the stem is the first)."""
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 20
    """Largest number of passes over the training photos."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Photos per step."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-4
    """Peak learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of `sgd`."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay (coupled in adam and sgd, decoupled in adamw). Not applied to biases and norm layers."""
    schedule: Literal["constant", "cosine", "onecycle", "plateau"] = "constant"
    """Schedule of the learning rate; plateau: divide by ten after half of early stopping's patience without
    improvement."""
    warmup_epochs: Annotated[int, Field(ge=0, le=MAX_EPOCHS)] = 0
    """Number of first epochs in which the learning rate rises from a hundredth of `lr` to `lr`; only with the
    schedules constant and cosine."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread evenly over all classes."""
    source_labels: bool = False
    """With `data.class_mapping`: learn to distinguish the labels that it combines. The probability of a class is the
    sum of the probabilities of its labels."""
    balance: Literal["none", "sampler", "weights"] = "none"
    """sampler: draw all classes equally often; weights: weight the loss by inverse class frequency; none: neither."""
    early_stopping: EarlyStoppingSpec | None = EarlyStoppingSpec()
    """null: train for all epochs."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay per step of an exponential moving average of the weights, which is then evaluated and kept."""
    precision: Annotated[Literal["auto", "32", "bf16", "fp16"], BeforeValidator(_number_as_text)] = "auto"
    """Precision of the backbone in training; weights, batch norm statistics and the head are always in 32 bits. auto:
    bf16 on CPUs with AVX-512 BF16 or AMX, bf16 or fp16 on CUDA, otherwise 32."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto: CUDA, else Apple MPS, else the CPU."""
    devices: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that train together, each on its own GPU or its share of the processors, and share every batch
    (distributed data parallel); a head on cached embeddings is always trained by one."""
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    """Worker processes that load photos; null: one per available CPU. Does not affect the result."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the split, the initial weights, the order of the photos and their augmentation."""
    tensorboard: bool = False
    """Write TensorBoard events to the run folder."""
    staged: StagedSpec = StagedSpec()
    auto: AutoSpec = AutoSpec()

    @property
    def selected_by_validation(self) -> str:
        """What the validation photos select, in words; empty: nothing."""
        if self.strategy == "auto":
            return "classifier"
        if self.keep_epoch == "best":
            return "best epoch"
        return "number of epochs" if self.early_stopping else ""

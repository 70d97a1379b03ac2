"""How the weights are found."""

from typing import Annotated, Literal

from pydantic import Field

from assay.recipe.base import Settings

MOST_EPOCHS = 100_000
"""Every number of epochs ends here."""


class EarlyStopping(Settings):
    """Stop when a validation figure no longer improves."""

    metric: Literal["val_accuracy", "val_loss"] = "val_accuracy"
    """The figure watched."""
    patience: Annotated[int, Field(ge=1, le=MOST_EPOCHS)] = 5
    """Epochs without improvement before training stops."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest change that counts as an improvement."""


class StagedSpec(Settings):
    """The two stages of strategy `staged`."""

    head_epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS)] = 3
    """Epochs in which the head alone learns; the rest of `train.epochs` trains all layers."""
    head_lr: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate of the first stage."""
    early_lr_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Rate of the earliest layers in the second stage as a share of `train.lr`; those between lie between."""


class TrainSpec(Settings):
    """Strategy, optimiser, schedule and the rest of a training run."""

    strategy: Literal["scratch", "probe", "finetune", "staged"] = "staged"
    """scratch: random weights; probe: frozen backbone, only the head learns; finetune: all layers;
    staged: the head first, then all with lower rates for the early layers."""
    views: Annotated[int, Field(ge=0, le=1000)] = 0
    """With `probe` and augmentation: changed views of every training photo, computed once and drawn from;
    0: a new view every epoch, for which every photo goes through the backbone again."""
    freeze: Annotated[int, Field(ge=0, le=10_000)] = 0
    """With `finetune`: how many of the earliest stages stay frozen (the stem counts as the first)."""
    epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS)] = 20
    """Largest number of passes over the training photos."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 32
    """Photos a step."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 1e-4
    """Peak learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Momentum of `sgd`."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay, never on biases and norms (coupled in adam and sgd, decoupled in adamw)."""
    schedule: Literal["constant", "cosine", "onecycle", "plateau"] = "constant"
    """Course of the learning rate; plateau: a tenth after half of the early stopping's patience."""
    warmup_epochs: Annotated[int, Field(ge=0, le=MOST_EPOCHS)] = 0
    """Epochs over which the rate rises from a hundredth to `lr`, for constant and cosine."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target spread evenly over all classes."""
    balance: Literal["none", "sampler", "weights"] = "none"
    """sampler: every class is drawn equally often; weights: the loss of rare classes weighs more."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """none trains for all epochs."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay a step of the exponential moving average of the weights that is evaluated and kept."""
    precision: Literal["auto", "32", "bf16", "fp16"] = "auto"
    """auto: bf16 or fp16 on a GPU that has it, 32 bits elsewhere."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto: CUDA, else Apple MPS, else the CPU."""
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    """Processes that prepare photos; none: as many as the processor allows. Never changes the result."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides the split, the initial weights, the order of the photos and their augmentation."""
    tensorboard: bool = False
    """Write TensorBoard events into the run."""
    staged: StagedSpec = StagedSpec()

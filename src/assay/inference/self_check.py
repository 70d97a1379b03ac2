"""What a model must be able to do before it answers anybody: give finite numbers of the right shapes."""

import numpy as np

from assay.inference.engine import Engine, EngineError, Outputs


def made_up(side: int) -> np.ndarray:
    """Return photos that are the same everywhere, uint8 [4, side, side, 3]: black, white, a ramp, noise."""
    ramp = np.linspace(0, 255, side).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    shape = (side, side, 3)
    return np.stack(
        [
            np.zeros(shape, np.uint8),
            np.full(shape, 255, np.uint8),
            np.broadcast_to(ramp[:, None, None], shape),
            noise,
        ]
    )


def check_engine(engine: Engine, side: int, classes: int) -> None:
    """Have an engine answer made-up photos and look at all it gives.

    Args:
        engine: the one to be used.
        side: side of its input in pixels.
        classes: C, how many classes it tells apart.

    Raises:
        EngineError: it cannot run, or an output is not finite float32 of its shape.
    """
    squares = made_up(side)
    outputs = engine.run(squares)
    check_outputs(outputs, len(squares), classes)
    refuse_not_finite("featuremap", outputs.featuremap)


def check_outputs(outputs: Outputs, count: int, classes: int) -> None:
    """Refuse outputs that are no answers: asked again of every batch, whatever the model did before.

    The feature map, of which only explanations are made, is not searched for NaN.

    Args:
        outputs: what an engine gives.
        count: N, how many photos it was given.
        classes: C, how many classes it tells apart.

    Raises:
        EngineError: an output is not float32 of its shape, or logits or embedding are not finite.
    """
    width, area = outputs.embedding.shape[-1:], outputs.featuremap.shape[2:4]
    shapes = ((count, classes), (count, *width), (count, *width, *area))
    for name, values, shape in zip(Outputs._fields, outputs, shapes, strict=True):
        if values.dtype != np.float32 or values.shape != shape or not values.size:
            raise EngineError(f"it gives {name} {values.dtype} {list(values.shape)}")
    refuse_not_finite("logits", outputs.logits)
    refuse_not_finite("embedding", outputs.embedding)


def refuse_not_finite(name: str, values: np.ndarray) -> None:
    """Refuse numbers that are no answer.

    Raises:
        EngineError: one of them is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise EngineError(f"it gives {name} that are not finite")

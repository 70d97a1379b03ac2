"""Networks of the timm library as backbones (`timm:convnext_tiny`). timm is imported only for such a name."""

import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from assay.core.errors import AssayError
from assay.nets.backbone import Backbone, Stages
from assay.recipe.preprocess import Channels

TIMM_PREFIX = "timm:"
"""Prefix of the names of timm's networks."""
_CONTAINERS = {"stages", "blocks", "layers", "features"}


class TimmBackbone(Backbone):
    """A network of the timm library without its classifier; `name` is `timm:NAME`.

    Token grids (vision transformers) and channels-last maps are converted to [N, K, h, w]; class and register
    tokens are dropped. `size` is the input side in pixels. Raises `AssayError` if timm is not installed or has no such
    network.
    """

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        self.size = size
        self.net = create_timm_model(name, size=size)
        self.channels = int(self.net.num_features)
        self._prefix = int(getattr(self.net, "num_prefix_tokens", 0))
        self._shape_of(name, size)

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature map [N, K, h, w] of normalized images, float [N, 3, S, S]."""
        features: Tensor = self.net(images)
        if features.ndim == 3:
            side = math.isqrt(features.shape[1] - self._prefix)
            patches = features[:, self._prefix :].transpose(1, 2)
            return patches.reshape(-1, self.channels, side, side)
        return features if features.shape[1] == self.channels else features.permute(0, 3, 1, 2)

    def stages(self) -> Stages:
        """Return one stage per child of the network, and one per block of its container of blocks."""
        stages: list[list[nn.Module]] = []
        for name, child in self.net.named_children():
            parts = list(child.children()) if name in _CONTAINERS else [child]
            stages += [[part] for part in parts if any(True for _ in part.parameters())]
        return stages

    def translate(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename timm's tensors to the names of `Classifier`, without those of timm's classifier."""
        config: Mapping[str, Any] = self.net.pretrained_cfg
        last = config.get("classifier") or ()
        heads = tuple(f"{name}." for name in ((last,) if isinstance(last, str) else last))
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(heads)}
        return {f"backbone.net.{name}": tensor for name, tensor in kept.items()}

    def _shape_of(self, name: str, size: int) -> None:
        """Run one black image to check the output shape, which timm does not declare."""
        self.net.eval()
        with torch.no_grad():
            features = self.net(torch.zeros(1, 3, size, size))
        self.net.train()
        channels = self.channels in tuple(features.shape[1:])
        square = features.ndim == 4 or math.isqrt(features.shape[1] - self._prefix) ** 2 == (
            features.shape[1] - self._prefix
        )
        if features.ndim not in {3, 4} or not channels or not square:
            raise AssayError(
                f"{name} gives no feature map (its output is {list(features.shape)}): choose a network "
                "that does, such as timm:convnext_tiny"
            )


def create_timm_model(name: str, *, size: int, pretrained: bool = False) -> Any:
    """Create a network of the timm library without classifier and pooling; `name` is `timm:NAME`.

    `pretrained` weights come from timm's cache or a download. Raises `AssayError` if timm is not installed, has no
    such network, or could not load the weights.
    """
    timm = _import_timm(name)
    short = name.removeprefix(TIMM_PREFIX)
    if not timm.is_model(short):
        near = timm.list_models(f"*{short.split('.')[0].split('_')[0]}*")[:5]
        hint = f"; some are {', '.join(near)}" if near else ""
        raise AssayError(f"timm {timm.__version__} knows no network called {short!r}{hint}")
    settings: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0, "global_pool": ""}
    try:
        try:
            return timm.create_model(short, img_size=size, **settings)
        except TypeError:  # convolutional networks have no img_size
            return timm.create_model(short, **settings)
    except (OSError, RuntimeError, ValueError) as error:
        hint = "; choose net.weights=none, or give a file with --weights FILE" if pretrained else ""
        raise AssayError(f"timm {timm.__version__} could not make {name}: {error}{hint}") from error


def timm_normalization(name: str) -> tuple[Channels, Channels]:
    """Return the mean and standard deviation that the published weights of a `timm:` network expect.

    Raises `AssayError` if timm is not installed or has no such network.
    """
    timm = _import_timm(name)
    config = timm.models.get_pretrained_cfg(name.removeprefix(TIMM_PREFIX), allow_unregistered=True)
    if config is None:
        return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return tuple(config.mean), tuple(config.std)


def _import_timm(name: str) -> ModuleType:
    try:
        import timm  # noqa: PLC0415  an optional extra
    except (ImportError, RuntimeError) as error:
        # RuntimeError: timm imports torchvision, which refuses a torch of another build.
        raise AssayError(
            f"network {name!r} needs the timm library, which cannot be imported ({error}): "
            'pip install "assay[timm]" and a torchvision that matches the installed torch, '
            "or choose a network without timm:"
        ) from error
    module: ModuleType = timm
    return module

"""From a network's name or settings to the network, with random weights.

Knows nothing of files: `weights.py` fills what is made here.
"""

from assay.errors import UsageError
from assay.nets.backbone import Backbone
from assay.nets.classifier import Classifier
from assay.nets.convnet import ConvNet
from assay.nets.efficientnet_lite import LITES, EfficientNetLite
from assay.nets.heads import Head
from assay.nets.resnet import RESNETS, ResNet
from assay.nets.timm_backbone import TIMM, TimmBackbone, timm_normalization
from assay.recipe import NetSpec
from assay.recipe.preprocess import Channels

_IMAGENET: tuple[Channels, Channels] = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF: tuple[Channels, Channels] = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
_LITE: tuple[Channels, Channels] = (127 / 255,) * 3, (128 / 255,) * 3


def create(
    spec: NetSpec | str,
    classes: int,
    *,
    mean: Channels | None = None,
    std: Channels | None = None,
    size: int = 224,
) -> Classifier:
    """Create a classifier with random weights from torch's global generator.

    Args:
        spec: the network's settings, or only its name.
        classes: number of classes, two or more.
        mean: mean of each RGB channel on a 0-1 scale; none: that of `normalization`.
        std: standard deviation of each RGB channel on a 0-1 scale; none: that of `normalization`.
        size: side of the input in pixels. Only networks of the timm library depend on it; for `convnet` it
            must leave at least one pixel after the last pooling.

    Raises:
        UsageError: fewer than two classes, or a size too small for the network.
        AssayError: the name starts with `timm:`, and timm is not installed or has no such network.
    """
    spec = NetSpec(name=spec) if isinstance(spec, str) else spec
    if classes < 2:
        raise UsageError(f"a classifier needs two classes, not {classes}: add photos of another class")
    backbone = _backbone(spec, size)
    usual_mean, usual_std = normalization(spec.name)
    head = Head(spec.head, backbone.channels, classes)
    return Classifier(backbone, head, mean or usual_mean, std or usual_std)


def normalization(name: str) -> tuple[Channels, Channels]:
    """Return the mean and standard deviation of each RGB channel that a network's weights were trained with.

    On a 0-1 scale. For networks without published weights both are 0.5, which maps pixels to -1 ... 1.

    Args:
        name: one of `assay.recipe.NETWORKS`, or `timm:NAME`.

    Raises:
        AssayError: the name starts with `timm:`, and timm is not installed or has no such network.
    """
    if name.startswith(TIMM):
        return timm_normalization(name)
    if name in LITES:
        return _LITE
    # The weights of resnet50v2 come from the timm library; they were trained on pixels from -1 to 1.
    return _IMAGENET if name in RESNETS and name != "resnet50v2" else _HALF


def _backbone(spec: NetSpec, size: int) -> Backbone:
    if spec.name.startswith(TIMM):
        return TimmBackbone(spec.name, size)
    if spec.name in LITES:
        return EfficientNetLite(LITES[spec.name])
    if spec.name == "convnet":
        blocks = len(spec.convnet.filters)
        if size < 2**blocks:
            raise UsageError(
                f"preprocess.size is {size}, but a convnet of {blocks} blocks needs {2**blocks} or more"
            )
        return ConvNet(spec.convnet)
    return ResNet(RESNETS.get(spec.name, spec.resnet))

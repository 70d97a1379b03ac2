"""Networks: the ResNet family, a ConvNet, EfficientNet-Lite, their heads, and published weights.

Knows nothing of photos' files, labels or training.
"""

from assay.nets.backbone import Backbone
from assay.nets.classifier import Classifier, Outputs
from assay.nets.convnet import ConvNet
from assay.nets.create import create, normalization
from assay.nets.efficientnet_lite import EfficientNetLite
from assay.nets.heads import Head
from assay.nets.resnet import ResNet
from assay.nets.weights import load_pretrained

__all__ = [
    "Backbone",
    "Classifier",
    "ConvNet",
    "EfficientNetLite",
    "Head",
    "Outputs",
    "ResNet",
    "create",
    "load_pretrained",
    "normalization",
]

"""Networks: ResNet, ConvNet, EfficientNet-Lite and timm backbones, classifier heads, and pretrained weights."""

from assay.nets.backbone import Backbone
from assay.nets.classifier_network import (
    ClassifierNetwork,
    ClassifierOutput,
    create_classifier,
    default_normalization,
    uses_intermediate_features,
)
from assay.nets.convnet import ConvNet
from assay.nets.efficientnet_lite import EfficientNetLite
from assay.nets.heads import Head
from assay.nets.pretrained import load_pretrained
from assay.nets.resnet import ResNet

__all__ = [
    "Backbone",
    "ClassifierNetwork",
    "ClassifierOutput",
    "ConvNet",
    "EfficientNetLite",
    "Head",
    "ResNet",
    "create_classifier",
    "default_normalization",
    "load_pretrained",
    "uses_intermediate_features",
]

"""EfficientNet-Lite0 of Assay, for which torchvision has no counterpart; needs `src` on PYTHONPATH."""

from torch import Tensor, nn

from assay.nets.efficientnet_lite import EFFICIENTNET_LITES, EfficientNetLite


class Lite(nn.Module):
    """EfficientNet-Lite0 with global average pooling and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.backbone = EfficientNetLite(EFFICIENTNET_LITES["efficientnet-lite0"])
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(self.backbone.channels, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, 3, S, S] to [N, C]."""
        logits: Tensor = self.head(self.backbone(images).mean((2, 3)))
        return logits

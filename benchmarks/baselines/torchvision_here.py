"""torchvision where its compiled operators do not fit the installed torch: networks and transforms need none.

Wheels of torchvision are built for one build of torch, on PyPI for CUDA's. Beside another one `import
torchvision` fails at two operators that only detection uses; declared beforehand, they are not missed. Import
this before torchvision.
"""

from importlib.util import find_spec
from pathlib import Path

import torch

library = torch.library.Library("torchvision", "FRAGMENT")
spec = find_spec("torchvision")
if spec is not None and spec.origin is not None:
    try:
        torch.ops.load_library(str(Path(spec.origin).parent / "_C.so"))
    except OSError:
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

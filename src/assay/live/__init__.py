"""Live video: classify cameras and videos, smooth predictions, trigger events, and collect training images.

No frame is written to disk unless a recording or an image is requested.
"""

from assay.live.event_dispatcher import RuleSink
from assay.live.rules import Rule
from assay.live.smoothing import PredictionSmoother, SmoothedPrediction, SmoothingConfig
from assay.live.sources import Frame, FrameSource, parse_source
from assay.live.watch_loop import FrameResult, FrameSink, WatchSummary, watch_source

__all__ = [
    "Frame",
    "FrameResult",
    "FrameSink",
    "FrameSource",
    "PredictionSmoother",
    "Rule",
    "RuleSink",
    "SmoothedPrediction",
    "SmoothingConfig",
    "WatchSummary",
    "parse_source",
    "watch_source",
]

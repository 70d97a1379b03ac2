"""Time: cameras and videos watched, answers kept steady, events sent on; photos collected from a camera.

Knows bundles, pixels and predictions; nothing of training, data sets, HTTP servers or the terminal. A frame
is never written to the disk unless somebody asked for a recording or a photo.
"""

from assay.live.alerts import Alerts
from assay.live.events import Rule
from assay.live.frame import Frame
from assay.live.smoothing import Answer, Steadiness, Steady
from assay.live.source import Source, parse_source
from assay.live.view import Sink, View
from assay.live.watch import Summary, watch

__all__ = [
    "Alerts",
    "Answer",
    "Frame",
    "Rule",
    "Sink",
    "Source",
    "Steadiness",
    "Steady",
    "Summary",
    "View",
    "parse_source",
    "watch",
]

"""Disable the usage reporting of the libraries that Assay builds on.

It runs first at `import assay` and imports nothing that the interpreter has not loaded already. Worker
processes inherit the environment variables.
"""

import os
import sys

VARIABLES = {
    # ONNX Runtime 1.31 and later keeps a device id and a queue of events in the home folder and sends them to
    # its collector; `disable_telemetry_events` comes too late for that.
    "ORT_DISABLE_TELEMETRY": "1",
    # Asks the package index for newer versions at import.
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "ALBUMENTATIONS_NO_TELEMETRY": "1",
    # Data sets and weights are still downloaded when somebody asks for them; only the reports stop.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "BENTOML_DO_NOT_TRACK": "True",
    # A common convention (consoledonottrack.com).
    "DO_NOT_TRACK": "1",
}
"""Environment variables that stop the reports, whatever the user's environment says."""

_OPENVINO, _OPENVINO_TELEMETRY = "openvino", "openvino_telemetry"


def disable_telemetry() -> None:
    """Switch off the usage reporting of every known library, for this process and those that it starts.

    OpenVINO knows no variable: it reports its import to Google Analytics unless its package for that is
    missing. So that package cannot be imported any more, and OpenVINO takes its own stub.
    """
    os.environ.update(VARIABLES)
    if _OPENVINO not in sys.modules:
        sys.modules[_OPENVINO_TELEMETRY] = None  # type: ignore[assignment]

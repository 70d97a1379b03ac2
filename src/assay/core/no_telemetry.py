"""Disable the usage reporting of the libraries that Assay builds on.

It runs first at `import assay` and imports nothing that the interpreter has not loaded already. Worker
processes inherit the environment variables.
"""

import os
import sys

VARIABLES = {
    # ONNX Runtime 1.31 and later stores a device id and a queue of events in the home folder and sends them to
    # its collector; `disable_telemetry_events` is too late for that.
    "ORT_DISABLE_TELEMETRY": "1",
    # Queries the package index for newer versions at import.
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "ALBUMENTATIONS_NO_TELEMETRY": "1",
    # Disables reports only; datasets and weights are still downloaded on request.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "BENTOML_DO_NOT_TRACK": "True",
    # A common convention (consoledonottrack.com).
    "DO_NOT_TRACK": "1",
}
"""Environment variables that disable the reports; they override the user's environment."""

_OPENVINO, _OPENVINO_TELEMETRY = "openvino", "openvino_telemetry"


def disable_telemetry() -> None:
    """Disable the usage reporting of every known library, for this process and its child processes.

    OpenVINO has no variable: it reports its import to Google Analytics unless its telemetry package is missing.
    Therefore that package is made unimportable, and OpenVINO uses its own stub.
    """
    os.environ.update(VARIABLES)
    if _OPENVINO not in sys.modules:
        sys.modules[_OPENVINO_TELEMETRY] = None  # type: ignore[assignment]

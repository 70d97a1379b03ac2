"""A worker for the tests: reads events as JSON lines, and answers each with one."""

import json
import sys
from datetime import UTC, datetime

from assay.bundle import BundleInfo
from assay.serving.request_record import RequestRecord
from assay.serving.settings import TelemetrySettings
from assay.serving.telemetry import QueueLengthChanged, RequestCompleted
from assay.serving.telemetry.telemetry import make_telemetry

NOW = datetime(2026, 1, 2, tzinfo=UTC)

info = BundleInfo.model_validate_json(sys.argv[1])
telemetry = make_telemetry(TelemetrySettings(log_level="error"), {"bottle": info}, {})
for line in sys.stdin:
    event, *values = json.loads(line)
    answer = ""
    if event == "answered":
        label, times = values
        for number in range(times):
            record = RequestRecord(
                request_id=str(number),
                timestamp=NOW,
                client_id="c",
                image=None,
                result=label,
                confidence=0.9,
                unknown=False,
                processing_time=0.01,
                model="bottle",
                model_version="v1",
                cache_hit=False,
                status=200,
            )
            telemetry.emit(RequestCompleted(record, "gold"))
    elif event == "render":
        answer = telemetry.render_metrics()[0].decode()
    else:
        telemetry.emit(QueueLengthChanged(*values))
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()

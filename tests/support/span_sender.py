"""``python -m``：记下第一个参数那么多个创建的跨度与另外三个，送出去；末了一行是它的回答。"""

from __future__ import annotations

import json
import sys
import warnings

from kaguan.config.model import Logging, Telemetry
from kaguan.logging.setup import configure_logging
from kaguan.outbox.spans import creation_context, process_span, record_outcome
from kaguan.telemetry.propagation import traceparent_of
from kaguan.telemetry.setup import configure_telemetry, spans_dropped

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def main(spans: int, ratio: float) -> None:
    traceparent = None
    with configure_logging(Logging(format="json"), "worker"):
        telemetry = configure_telemetry(Telemetry(sample_ratio=ratio, service_namespace="tests"), "worker")
        for number in range(spans):
            traceparent = traceparent_of(creation_context("email:send", f"task-{number}", "default"))
        with process_span("email:send", "task-x", "default", 1, SAMPLED) as span:
            follows = span.get_span_context().trace_flags.sampled
        with process_span("email:send", "task-y", "default", 1, None) as span:
            record_outcome(span, "failed", "Discard")
        with process_span("email:send", "task-z", "default", 2, None) as span:
            record_outcome(span, "succeeded")
        telemetry()
        telemetry()
    sampled = bool(traceparent and int(traceparent[-2:], 16) & 1)
    answer = {"traceparent": traceparent, "sampled": sampled, "follows": follows, "dropped": spans_dropped()}
    print(json.dumps(answer))


if __name__ == "__main__":
    warnings.simplefilter("error")
    main(int(sys.argv[1]), float(sys.argv[2]))

"""Metrics, drift detection, logs and traces of a running server."""

"""Metrics, drift, logs and traces of a running service."""

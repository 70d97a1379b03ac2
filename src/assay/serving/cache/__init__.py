"""Answers kept for photos that come again: in process, in Redis, and once for many at a time."""

"""Decide whether a request may proceed: API keys, signed requests, rate limits, countries and browser origins."""

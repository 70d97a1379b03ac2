"""Measure a bundle with every available engine and precision on this machine.

Imports nothing: measured processes import `assay.benchmark.worker`, and imports
here would be included in the measurements.
"""

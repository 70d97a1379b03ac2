"""Assay turns a folder of photos into an image classifier you can trust, explain and serve."""

__version__ = "0.1.0"

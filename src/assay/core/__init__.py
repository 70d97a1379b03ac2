"""Building blocks that every package may use: errors, files, locks, tables, text, downloads and progress.

Nothing is imported here, so that `import assay`, which disables telemetry first, stays cheap.
"""

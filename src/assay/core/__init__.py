"""Shared utilities: errors, files, locks, tables, text, downloads and progress.

Nothing is imported here, so that `import assay`, which first disables telemetry, stays fast.
"""

"""Words typed: one thin module a command, which parses, calls and prints.

Heavy imports happen inside the command that needs them, so that `assay --help` answers at once.
"""

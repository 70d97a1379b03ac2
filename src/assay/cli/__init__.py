"""The command line: thin modules that parse arguments, call the library and print.

Heavy imports happen inside the commands, so that `assay --help` stays fast.
"""

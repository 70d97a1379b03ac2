"""How fast a bundle answers on this machine, with every engine and precision that is here.

Imports nothing: the processes that are measured import `assay.workflow.bench.worker`, and what this file
imported would be counted as theirs.
"""

"""A bundle as an HTTP service. Knows bundles and predictions; nothing of training.

The parts (`cache`, `journal`, `auth`, `watching`) know nothing of each other; the app joins them.
"""

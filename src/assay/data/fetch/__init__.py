"""Download public data sets and archives, verified by SHA-256, into folders ready for training."""

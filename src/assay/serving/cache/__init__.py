"""Cache of classification results."""

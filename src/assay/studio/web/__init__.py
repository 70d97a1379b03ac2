"""Templates, texts and assets of the studio."""

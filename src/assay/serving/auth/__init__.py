"""Keys, signatures, tiers, rates and countries."""

"""The web pages of the server: classify photos at `/`, label photos at `/relabel`."""

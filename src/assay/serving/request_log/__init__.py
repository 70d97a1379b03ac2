"""The request log: a record of every request in SQLite or MongoDB, and uncertain photos kept for labelling."""

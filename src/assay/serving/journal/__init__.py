"""Every request recorded, written behind the answers; SQLite by default, MongoDB by its address."""

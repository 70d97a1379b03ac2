"""What people see of a server: the page for photos at `/` and the page for labels at `/relabel`.

Plain files for the browser (`assets/`), and the few routes that only these pages need. Photos go through the
API's own `/classify`: the page can do nothing that a client with the same key could not.
"""

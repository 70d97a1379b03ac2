"""Work that is distributed over processes and machines by Ray, and files in object stores."""

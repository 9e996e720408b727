"""Tables: read, write once, change, describe. One file for each backend."""

"""Delta tables, read through delta-rs and committed to by this package."""

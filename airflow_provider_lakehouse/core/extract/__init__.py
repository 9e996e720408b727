"""Extraction: what to read is decided and written down before it is read."""

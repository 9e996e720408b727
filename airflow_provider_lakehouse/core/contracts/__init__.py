"""Contracts: what the producer of tables promises to whoever reads them, as the Open Data Contract Standard writes it."""

"""Shipped test suites: a new backend is accepted when it passes the specification here."""

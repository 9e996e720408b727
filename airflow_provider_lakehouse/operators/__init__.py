"""Operators: arguments, one call into the core, a result."""

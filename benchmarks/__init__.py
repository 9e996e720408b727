"""Measure the provider against other libraries and against the limits of the machine: `python -m benchmarks`."""

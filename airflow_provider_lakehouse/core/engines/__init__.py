"""Engines: run SQL over named tables and stream Arrow back. One file for each engine."""

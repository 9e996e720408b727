"""Sensors: tasks that wait for a table."""

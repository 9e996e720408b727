"""Hooks: from an Airflow connection to tables and engines."""

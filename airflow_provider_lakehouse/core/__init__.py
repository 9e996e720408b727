"""The lakehouse itself. Nothing in this package knows Airflow."""

"""Sample data for the reference DAGs and the tests. Nothing in this package knows Airflow."""

"""The demonstration: a real Airflow runs the medallion reference DAG on real data, and is killed while it does."""

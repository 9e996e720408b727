"""Load, check and maintain Iceberg and Delta tables from Apache Airflow, each change exactly once."""

__version__ = "0.1.0"

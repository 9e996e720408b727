"""Notifiers: tell people what failed, through Airflow's own providers."""

"""The one room that knows both sides: Airflow's values in, the core's values out, and back."""

"""Run a command: `python -m airflow_provider_lakehouse contract check|diff|suggest|tests`."""

from __future__ import annotations

import sys

from airflow_provider_lakehouse.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

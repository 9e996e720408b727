"""Processes that write to one table at once: batches of their own, and batches that they share."""

import subprocess
import sys

from airflow_provider_lakehouse.core.tables.base import CatalogSettings

WRITERS = 3
BATCHES = 5
DEADLINE_SECONDS = 120.0
SCRIPT = """
import sys
from airflow_provider_lakehouse.core.tables.base import CatalogSettings
from airflow_provider_lakehouse.core.tables.iceberg.table import open_catalog
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from airflow_provider_lakehouse.testing.orders import (NAME, ORDERS, append, token)
warehouse, name, batches, writer, *pairs = sys.argv[1:]
properties = dict(pair.split("=", 1) for pair in pairs)
table = open_catalog(CatalogSettings("iceberg", warehouse, name=name, properties=properties)).table(NAME)
table.create(TableSpec(ORDERS))
for batch in range(int(batches)):
    table.commit(append(int(writer) * 100 + batch), token=token(f"{writer} {batch}"))
    table.commit(append(9000 + batch), token=token(f"shared {batch}"))
"""


def race(settings: CatalogSettings) -> list[int]:
    """Lets processes create the table, where it is not there, and write to it; returns their exit statuses.

    Args:
        settings: Of the Iceberg catalog.
    """
    pairs = [f"{name}={value}" for name, value in settings.properties.items()]
    command = [sys.executable, "-c", SCRIPT, settings.warehouse, settings.name, str(BATCHES)]
    running = [subprocess.Popen([*command, str(writer), *pairs]) for writer in range(WRITERS)]
    return [process.wait(timeout=DEADLINE_SECONDS) for process in running]


def expected_ids() -> list[int]:
    """Returns the ids of the table, sorted: every batch once."""
    own = [writer * 100 + batch for writer in range(WRITERS) for batch in range(BATCHES)]
    return sorted([*own, *range(9000, 9000 + BATCHES)])

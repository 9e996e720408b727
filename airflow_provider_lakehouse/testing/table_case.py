"""What all specifications of tables start from: a backend, and empty tables in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_lakehouse.core.errors import (
    UnsupportedError,
)
from airflow_provider_lakehouse.core.tables.base import (
    no_probe,
)
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.tables.base import (
        Catalog,
        Probe,
        Table,
    )
from airflow_provider_lakehouse.testing.orders import NAME, ORDERS


class TableCase:
    """A backend under test."""

    partitioning: tuple[str, ...] = ("day",)
    """How partitioned example tables are partitioned."""

    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        """Open the catalog that lives below a folder; the same folder is the same catalog."""
        raise UnsupportedError("A backend's tests say how its catalog is opened.", root=str(root))

    @pytest.fixture
    def table(self, tmp_path: Path) -> Table:
        """An empty table."""
        table = self.catalog(tmp_path).table(NAME)
        table.create(TableSpec(ORDERS))
        return table

    @pytest.fixture
    def partitioned(self, tmp_path: Path) -> Table:
        """An empty table, partitioned by day."""
        table = self.catalog(tmp_path).table(NAME)
        table.create(TableSpec(ORDERS, partitioning=self.partitioning))
        return table

    def count_data_files(self, root: Path) -> int:
        """Return how many data files lie below a folder, live or not."""
        return len(list(root.rglob("*.parquet")))

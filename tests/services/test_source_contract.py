"""The sources of real servers pass the specification that every source passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_lakehouse.testing.source_spec import SourceSpecification

from .postgres_rows import database, dsn, source, sql
from .test_dbapi_source import maria, of_adbc, of_maria, shop

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_lakehouse.core.sources.base import Source

__all__ = ["database", "dsn", "maria", "shop", "sql"]

FILLED = "CREATE TABLE filled AS SELECT 1 AS id, 'a' AS name UNION ALL SELECT 2, NULL UNION ALL SELECT 3, 'c'"
EMPTY = "CREATE TABLE empty (id bigint, name varchar(10))"


class TestPostgres(SourceSpecification):
    @pytest.fixture(autouse=True)
    def tables(self, dsn: str, sql: Any) -> None:
        self.dsn = dsn
        sql(f"{FILLED}; {EMPTY}")

    def filled(self, root: Path) -> Source:
        return source(self.dsn, "filled")

    def empty(self, root: Path) -> Source:
        return source(self.dsn, "empty")


class TestPostgresThroughAdbc(TestPostgres):
    def filled(self, root: Path) -> Source:
        return of_adbc(self.dsn, "filled")

    def empty(self, root: Path) -> Source:
        return of_adbc(self.dsn, "empty")


class TestMariaDB(SourceSpecification):
    @pytest.fixture(autouse=True)
    def tables(self, shop: dict[str, Any], maria: Any) -> None:
        self.shop = shop
        maria(FILLED)
        maria(EMPTY)

    def filled(self, root: Path) -> Source:
        return of_maria(self.shop, "filled")

    def empty(self, root: Path) -> Source:
        return of_maria(self.shop, "empty", columns={"id": "long", "name": "string"})

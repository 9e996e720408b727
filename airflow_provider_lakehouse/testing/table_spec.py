"""The specification of a table, to be inherited by the tests of every backend.

Give `TestMyBackend(TableSpecification)` a `catalog` method that opens a fresh, empty catalog with a probe, and nothing else:
what a backend cannot do it refuses by name, and the specification checks that it does.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_lakehouse.core.errors import (
    ConflictError,
    DataRejectedError,
    InvalidRequestError,
    UnsupportedError,
)
from airflow_provider_lakehouse.core.schema import Column, Schema, SchemaChange
from airflow_provider_lakehouse.core.tables.abilities import (
    Listing,
)
from airflow_provider_lakehouse.core.tables.base import (
    Change,
)
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import TableSpec, apply_spec, plan_spec

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from airflow_provider_lakehouse.core.tables.base import (
        Table,
    )
from airflow_provider_lakehouse.testing.orders import NAME, ORDERS, append, ids, orders, token
from airflow_provider_lakehouse.testing.versions_spec import VersionsSpecification
from airflow_provider_lakehouse.testing.writes_spec import WritesSpecification


class TableSpecification(WritesSpecification, VersionsSpecification):
    """What every table promises."""

    # -- existence ---------------------------------------------------------------------------------------------------

    def test_a_table_exists_once_it_is_created(self, tmp_path: Path) -> None:
        table = self.catalog(tmp_path).table(NAME)
        assert not table.exists()
        assert table.create(TableSpec(ORDERS))
        assert table.exists()
        assert self.catalog(tmp_path).table(NAME).exists()
        assert self.catalog(tmp_path).tables("sales") == (NAME,)

    def test_creating_a_table_again_leaves_it_as_it_is(self, table: Table) -> None:
        table.commit(append(1), token=token("a"))
        assert not table.create(TableSpec(Schema.of(Column("other", "string"))))
        assert table.facts().schema.names == ORDERS.names
        assert ids(table) == [1]

    def test_of_many_that_create_a_table_at_once_one_does(self, tmp_path: Path) -> None:
        def create(number: int) -> bool:
            return self.catalog(tmp_path).table(f"sales.at_once_{number % 2}").create(TableSpec(ORDERS))

        with ThreadPoolExecutor(6) as pool:
            created = list(pool.map(create, range(6)))
        assert sum(created) == 2
        assert self.catalog(tmp_path).tables("sales") == ("sales.at_once_0", "sales.at_once_1")

    def test_a_dropped_table_is_gone_and_can_be_created_anew(self, table: Table) -> None:
        table.commit(append(1), token=token("a"))
        table.drop()
        table.drop()
        assert not table.exists()
        assert table.create(TableSpec(ORDERS))
        assert ids(table) == []
        assert table.find(token("a")) is None

    def test_asking_about_a_table_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        table = self.catalog(tmp_path).table("sales.nothing")
        with pytest.raises(InvalidRequestError, match="nothing"):
            table.facts()
        with pytest.raises(InvalidRequestError, match="nothing"):
            table.commit(append(1), token=token("a"))
        assert self.catalog(tmp_path).tables("nowhere") == ()

    def test_facts_tell_what_the_specification_declared(self, tmp_path: Path) -> None:
        spec = TableSpec(ORDERS, self.partitioning, ("id",), {"owner": "sales"}, "Orders", target_file_bytes=1_000_000)
        table = self.catalog(tmp_path).table(NAME)
        table.create(spec)
        facts = table.facts()
        assert [(c.name, c.type, c.nullable) for c in facts.schema.columns] == [
            (c.name, c.type, c.nullable) for c in ORDERS.columns
        ]
        assert facts.partitioning == spec.partition_fields
        assert facts.properties["owner"] == "sales"
        assert facts.comment == "Orders"
        assert facts.target_file_bytes == 1_000_000
        assert facts.files == 0
        assert not facts.keeps_identifier or facts.schema.identifier == ("id",)
        assert not plan_spec(spec, facts).refused

    # -- append, read -------------------------------------------------------------------------------------------------

    def test_appended_rows_are_read_back_as_they_were(self, table: Table) -> None:
        rows = orders(3, 1, 2, note=None)
        result = table.commit(Change(rows=rows.to_reader()), token=token("a"))
        assert (result.rows_added, result.rows_removed, result.replayed) == (3, 0, False)
        assert table.read().read_all().sort_by("id").to_pylist() == rows.sort_by("id").to_pylist()
        facts = table.facts()
        assert facts.version == result.version
        assert facts.rows in (3, None)
        assert facts.files == 1

    def test_a_read_returns_the_columns_asked_for_in_that_order(self, table: Table) -> None:
        table.commit(append(1), token=token("a"))
        assert table.read(columns=("note", "id")).read_all().to_pylist() == [{"note": "n", "id": 1}]

    def test_a_read_returns_the_rows_that_satisfy_every_condition(self, table: Table) -> None:
        table.commit(append(1, 2, 3, 4), token=token("a"))
        table.commit(append(5, note=None), token=token("b"))
        assert ids(table, where=(Comparison("id", ">", 1), Comparison("id", "<=", 3))) == [2, 3]
        assert ids(table, where=(Comparison("id", "in", (1, 4, 9)),)) == [1, 4]
        assert ids(table, where=(Comparison("id", "not in", (1, 4)),)) == [2, 3, 5]
        assert ids(table, where=(Comparison("note", "is null"),)) == [5]
        assert ids(table, where=(Comparison("note", "is not null"), Comparison("id", "!=", 2))) == [1, 3, 4]
        assert ids(table, where=(Comparison("amount", "=", Decimal("0.75")),)) == [3]
        assert ids(table, where=(Comparison("day", "<", date(2026, 1, 1)),)) == []

    def test_reading_an_unknown_column_is_refused(self, table: Table) -> None:
        with pytest.raises(InvalidRequestError, match="nope"):
            table.read(columns=("nope",)).read_all()

    def test_an_empty_table_reads_as_no_rows_with_its_columns(self, table: Table) -> None:
        rows = table.read().read_all()
        assert (rows.num_rows, tuple(rows.column_names)) == (0, ORDERS.names)

    def test_rows_with_other_columns_are_refused(self, table: Table) -> None:
        import pyarrow as pa

        rows = pa.table({"id": [1], "surprise": ["x"]})
        with pytest.raises(InvalidRequestError):
            table.commit(Change(rows=rows.to_reader()), token=token("a"))
        assert ids(table) == []
        assert table.find(token("a")) is None

    def test_a_null_where_none_is_allowed_is_refused(self, table: Table) -> None:
        import pyarrow as pa

        rows = pa.Table.from_pylist([{"id": None, "day": None, "amount": None, "note": None}], schema=_nullable())
        with pytest.raises(DataRejectedError, match="null"):
            table.commit(Change(rows=rows.to_reader()), token=token("a"))
        assert ids(table) == []

    def test_hard_values_are_read_back_exactly(self, tmp_path: Path) -> None:
        import pyarrow as pa

        schema = Schema.of(
            Column("b", "boolean"), Column("i", "int"), Column("l", "long"), Column("d", "double"),
            Column("x", "decimal(38,10)"), Column("t", "date"), Column("at", "timestamptz"), Column("s", "string"),
            Column("bytes", "binary"), Column("many", "list<long>"), Column("one", "struct<a:int,`b c`:string>"),
            Column("pairs", "map<string,int>"), Column('a "quoted". name; DROP TABLE x --', "string"), Column("größe", "long"),
        )  # fmt: skip
        row: dict[str, Any] = {
            "b": True, "i": -(2**31), "l": 2**63 - 1, "d": float("-inf"), "x": Decimal("-1234567890123456789012345678.0123456789"),
            "t": date(1815, 6, 18), "at": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "s": "\U0001f980 'x' \x00y",
            "bytes": b"\x00\xff", "many": [1, None, 3], "one": {"a": None, "b c": "é"}, "pairs": [("k", 1)],
            'a "quoted". name; DROP TABLE x --': "v", "größe": 0,
        }  # fmt: skip
        later = {
            **row,
            "t": date(9999, 12, 31),
            "at": datetime(9999, 12, 31, tzinfo=UTC),
            "d": 5e-324,
            "s": "x" * 100_000,
        }
        table = self.catalog(tmp_path).table("types.hard")
        table.create(TableSpec(schema))
        empty: dict[str, Any] = dict.fromkeys(row)
        rows = pa.Table.from_pylist([row, empty, later], schema=schema.to_arrow())
        table.commit(Change(rows=rows.to_reader()), token=token("a"))
        assert table.read().read_all().to_pylist() == rows.to_pylist()

    def test_not_a_number_is_kept_and_does_not_hide_other_rows(self, tmp_path: Path) -> None:
        import pyarrow as pa

        table = self.catalog(tmp_path).table("types.floats")
        table.create(TableSpec(Schema.of(Column("x", "double"))))
        rows = pa.table({"x": [float("nan"), 1.0, float("inf")]})
        table.commit(Change(rows=rows.to_reader()), token=token("a"))
        assert len(table.read().read_all()) == 3
        assert table.read(where=(Comparison("x", "=", 1.0),)).read_all().to_pylist() == [{"x": 1.0}]

    # -- schema -------------------------------------------------------------------------------------------------------

    def test_a_column_is_added_in_the_commit_of_its_first_rows(self, table: Table) -> None:
        table.commit(append(1), token=token("a"))
        wider = ORDERS.with_columns(Column("more", "string"))
        rows = orders(2).append_column("more", [["x"]]).cast(wider.to_arrow())
        change = Change(rows=rows.to_reader(), schema_changes=(SchemaChange("add", Column("more", "string")),))
        table.commit(change, token=token("b"))
        assert table.facts().schema.names == (*ORDERS.names, "more")
        found = table.read(columns=("id", "more")).read_all().sort_by("id").to_pylist()
        assert found == [{"id": 1, "more": None}, {"id": 2, "more": "x"}]
        assert ids(table, where=(Comparison("more", "is null"),)) == [1]

    def test_a_type_is_widened_without_losing_rows_or_the_change_is_refused_by_name(self, tmp_path: Path) -> None:
        import pyarrow as pa

        table = self.catalog(tmp_path).table("types.widened")
        table.create(TableSpec(Schema.of(Column("n", "int"))))
        table.commit(Change(rows=pa.table({"n": pa.array([1], pa.int32())}).to_reader()), token=token("a"))
        change = Change(
            rows=pa.table({"n": pa.array([2**40], pa.int64())}).to_reader(),
            schema_changes=(SchemaChange("widen", Column("n", "long")),),
        )
        try:
            table.commit(change, token=token("b"))
        except UnsupportedError as error:
            assert "widen" in str(error)
            assert table.facts().schema.by_name["n"].type == "int"
        else:
            assert sorted(table.read().read_all().column("n").to_pylist()) == [1, 2**40]

    def test_drift_is_a_plan_that_is_applied_on_request(self, table: Table) -> None:
        spec = TableSpec(ORDERS.with_columns(Column("more", "long")), properties={"owner": "sales"}, comment="Orders")
        plan = plan_spec(spec, table.facts())
        assert not plan.is_empty
        assert table.facts().schema.names == ORDERS.names
        apply_spec(table, plan, token=token("spec 2"))
        apply_spec(table, plan, token=token("spec 2"))
        assert plan_spec(spec, table.facts()).is_empty

    # -- storage ------------------------------------------------------------------------------------------------------

    def test_a_refused_write_leaves_no_files(self, tmp_path: Path, table: Table) -> None:
        table.commit(append(1, 2), token=token("a"))
        before = self.count_data_files(tmp_path)
        version = table.facts().version
        table.commit(append(3), token=token("b"))
        with pytest.raises(ConflictError):
            table.commit(Change(rows=orders(9).to_reader(), base=version, guard=()), token=token("c"))
        assert self.count_data_files(tmp_path) in (before + 1, 0)

    def test_files_are_closed_at_their_target_size(self, tmp_path: Path) -> None:
        import numpy as np
        import pyarrow as pa

        table = self.catalog(tmp_path).table("sizes.files")
        table.create(TableSpec(Schema.of(Column("x", "double")), target_file_bytes=500_000))
        noise = np.random.default_rng(7).random(400_000)
        reader = pa.table({"x": noise}).to_reader(max_chunksize=10_000)
        result = table.commit(Change(rows=reader), token=token("a"))
        if isinstance(table, Listing):
            sizes = sorted(file.size_bytes for file in table.list_files().files)
            assert len(sizes) == result.files_added
            assert all(500_000 <= size <= 1_000_000 for size in sizes[1:])


def _nullable() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([field.with_nullable(True) for field in ORDERS.to_arrow()])

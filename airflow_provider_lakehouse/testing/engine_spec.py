"""The specification of an engine, to be inherited by the tests of every backend.

Give `TestMyEngine(EngineSpecification)` an `engine` and a `catalog` method, and nothing else.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.engines.base import EngineSettings, TableView, Working
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, UnavailableError
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.abilities import Addressing
from airflow_provider_lakehouse.core.tables.base import FILE_COLUMN, POSITION_COLUMN, At, Change, Positions, WriteToken
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import PartitionField, TableSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from airflow_provider_lakehouse.core.engines.base import Engine, Workspace
    from airflow_provider_lakehouse.core.tables.base import Catalog, Table
    from airflow_provider_lakehouse.core.tables.filters import Filter

ORDERS = Schema.of(
    Column("id", "long"),
    Column('the "name"', "string"),
    Column("price", "double"),
    Column("amount", "decimal(12,2)"),
    Column("day", "date"),
    Column("at", "timestamptz"),
    Column("paid", "boolean"),
    Column("measured", "struct<x:double>"),
    Column("series", "list<float>"),
)
NAN = float("nan")
ROWS: tuple[tuple[Any, ...], ...] = (
    (
        1,
        "a",
        1.5,
        Decimal("1.50"),
        date(1969, 12, 31),
        datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
        True,
        {"x": 1.5},
        [1.5],
    ),
    (
        2,
        None,
        NAN,
        Decimal("-0.01"),
        date(2026, 3, 29),
        datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
        False,
        {"x": NAN},
        [NAN],
    ),
    (3, "it's", None, None, None, None, None, None, None),
    (
        4,
        "ключ; --",
        -0.0,
        Decimal("9999999999.99"),
        date(9999, 12, 31),
        datetime(1, 1, 1, tzinfo=UTC),
        True,
        {"x": None},
        [],
    ),
)
"""Rows with nulls, NaN, a negative zero, and the ends of time."""
CONDITIONS: tuple[Filter, ...] = (
    (),
    (Comparison("id", ">=", 2), Comparison("id", "<", 4)),
    (Comparison("id", "in", (1, 3, 9)),),
    (Comparison("id", "not in", (1, 3)),),
    (Comparison('the "name"', "=", "it's"),),
    (Comparison('the "name"', "is null"),),
    (Comparison("price", ">", 0.5),),
    (Comparison("price", "<=", 0.0),),
    (Comparison("amount", ">", Decimal("1.4999")),),
    (Comparison("amount", "=", Decimal("1.5")),),
    (Comparison("amount", "<", Decimal("99999999999999.5")),),
    (Comparison("day", "<", date(1970, 1, 1)),),
    (Comparison("day", "!=", date(9999, 12, 31)),),
    (Comparison("at", "<=", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),),
    (Comparison("paid", "=", True),),
    (Comparison("id", "<", 2**62), Comparison("id", "is not null")),
)
SMALL_MEMORY_BYTES = 64 * 1024 * 1024


def rows_of(schema: Schema, rows: tuple[tuple[Any, ...], ...]) -> pa.RecordBatchReader:
    """Return rows as a stream."""
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) or [()] * len(schema.names)
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, schema.to_arrow(), strict=True)], schema.names
    ).to_reader()


class EngineSpecification:
    """What every engine promises, over tables of every format that it is given."""

    def engine(self, settings: EngineSettings) -> Engine:
        """Return the engine under test."""
        raise AssertionError("Give the class a method engine(settings).")

    def catalog(self, root: Path) -> Catalog:
        """Return a catalog whose tables the engine reads."""
        raise AssertionError("Give the class a method catalog(root).")

    @pytest.fixture
    def plain(self) -> Engine:
        """An engine with one thread."""
        return self.engine(EngineSettings(threads=1))

    @pytest.fixture
    def orders(self, tmp_path: Path) -> Table:
        """A table of four rows in two commits."""
        table = self.catalog(tmp_path).table("sales.orders")
        table.create(TableSpec(ORDERS))
        for number, rows in enumerate((ROWS[:3], ROWS[3:])):
            table.commit(Change(rows=rows_of(ORDERS, rows)), token=WriteToken("tests", number))
        return table

    @pytest.fixture
    def workspace(self, plain: Engine) -> Iterator[Workspace]:
        """A workspace of the engine."""
        with require(plain, Working).workspace() as opened:
            yield opened

    def test_a_query_names_tables_with_and_without_a_schema(self, plain: Engine, orders: Table) -> None:
        import pyarrow as pa

        sql = "SELECT count(*) AS n FROM sales.orders JOIN other USING (id)"
        tables = {"sales.orders": orders, "other": pa.table({"id": [1, 7]})}
        assert answer(plain, sql, tables=tables) == [{"n": 1}]

    def test_every_value_comes_back_as_it_was_written(self, plain: Engine, orders: Table) -> None:
        found = [tuple(row.values()) for row in answer(plain, "SELECT * FROM o ORDER BY id", tables={"o": orders})]
        assert [list(map(_spelled, row)) for row in found] == [list(map(_spelled, row)) for row in ROWS]

    def test_nan_is_above_every_number_in_every_filter(self, plain: Engine, orders: Table) -> None:
        for condition in ("price > 1.5", "price + 0 > 1.5", "price = 'NaN'", "measured.x > 1.5", "series[1] > 1.5"):
            assert answer(plain, f"SELECT id FROM o WHERE {condition}", tables={"o": orders}) == [{"id": 2}]
        below = answer(plain, "SELECT id FROM o WHERE price < 2 ORDER BY id", tables={"o": orders})
        assert below == [{"id": 1}, {"id": 4}]

    @pytest.mark.parametrize(
        "name", ["it's", 'a "quoted" one', "with space", "select", "ключ; DROP TABLE x; --", "a.b"]
    )
    def test_columns_may_have_any_name(self, plain: Engine, name: str, tmp_path: Path) -> None:
        schema = Schema.of(Column(name, "long"))
        table = self.catalog(tmp_path).table("odd.names")
        table.create(TableSpec(schema))
        table.commit(Change(rows=rows_of(schema, ((1,), (2,)))), token=WriteToken("tests", name))
        quoted = name.replace('"', '""')
        assert answer(plain, f'SELECT * FROM o WHERE "{quoted}" > 1', tables={"o": table}) == [{name: 2}]

    @pytest.mark.parametrize("where", CONDITIONS, ids=str)
    def test_a_view_shows_the_rows_that_the_table_itself_would_give(
        self, plain: Engine, orders: Table, where: Filter
    ) -> None:
        wanted = sorted(orders.read(columns=("id",), where=where).read_all().column("id").to_pylist())
        found = answer(plain, "SELECT id FROM o ORDER BY id", tables={"o": TableView(orders, where=where)})
        assert [row["id"] for row in found] == wanted

    def test_a_view_shows_one_version_whatever_is_written_later(self, plain: Engine, orders: Table) -> None:
        old = TableView(orders, At(version=orders.facts().version))
        orders.commit(Change(removes="all"), token=WriteToken("tests", "emptied"))
        assert answer(plain, "SELECT count(*) AS n FROM o", tables={"o": old}) == [{"n": len(ROWS)}]
        assert answer(plain, "SELECT count(*) AS n FROM o", tables={"o": orders}) == [{"n": 0}]

    def test_an_addressed_view_tells_where_rows_are(self, plain: Engine, orders: Table) -> None:
        require(orders, Addressing)
        view = TableView(orders, where=(Comparison("id", ">", 1),), addressed=True)
        with plain.query(f"SELECT {FILE_COLUMN}, {POSITION_COLUMN} FROM o WHERE id < 4", tables={"o": view}) as rows:
            found = rows.read_all()
        removal = Change(removes=Positions(found), base=orders.facts().version)
        assert orders.commit(removal, token=WriteToken("tests", "removal")).rows_removed == 2
        assert [row["id"] for row in answer(plain, "SELECT id FROM o ORDER BY id", tables={"o": orders})] == [1, 4]

    def test_rows_that_were_removed_are_seen_by_no_view(self, plain: Engine, orders: Table) -> None:
        gone = rows_at(plain, orders, "id = 2")
        orders.commit(Change(removes=Positions(gone), base=orders.facts().version), token=WriteToken("tests", "gone"))
        for view in (TableView(orders), TableView(orders, addressed=True)):
            assert [row["id"] for row in answer(plain, "SELECT id FROM o ORDER BY id", tables={"o": view})] == [1, 3, 4]

    def test_partition_columns_are_columns_like_others(self, plain: Engine, tmp_path: Path) -> None:
        table = self.catalog(tmp_path).table("sales.by_day")
        table.create(TableSpec(ORDERS, partitioning=(PartitionField("day"),)))
        table.commit(Change(rows=rows_of(ORDERS, ROWS)), token=WriteToken("tests", "partitioned"))
        sql = "SELECT id FROM o WHERE day = DATE '1969-12-31' OR day IS NULL ORDER BY id"
        assert [row["id"] for row in answer(plain, sql, tables={"o": table})] == [1, 3]

    def test_values_travel_as_parameters(self, plain: Engine) -> None:
        sql = "SELECT $text AS t, $day AS d, $amount AS a"
        given = {"text": "'; DROP TABLE x", "day": date(2026, 1, 2), "amount": Decimal("1.50"), "unused": 1}
        assert [tuple(row.values()) for row in answer(plain, sql, parameters=given)] == [tuple(given.values())[:3]]

    def test_a_description_is_what_the_query_gives(self, plain: Engine, orders: Table) -> None:
        sql = 'SELECT id, "the ""name""", amount * 2 AS twice FROM o'
        described = plain.describe(sql, tables={"o": orders})
        with plain.query(sql, tables={"o": orders}) as rows:
            assert rows.schema == described.to_arrow()
        assert described.names == ("id", 'the "name"', "twice")

    def test_the_time_zone_is_utc_wherever_the_process_runs(
        self, plain: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(os.environ, "TZ", "Asia/Tokyo")
        sql = "SELECT TIMESTAMPTZ '2026-03-29 02:30:00' AS at"
        assert answer(plain, sql) == [{"at": datetime(2026, 3, 29, 2, 30, tzinfo=UTC)}]

    @pytest.mark.parametrize(
        "sql",
        ["SELEC 1", "SELECT * FROM nowhere", "DROP TABLE x", "SELECT 1; SELECT 2", "", "SELECT INTERVAL 1 DAY AS i"],
    )
    def test_what_is_no_query_is_refused(self, plain: Engine, sql: str) -> None:
        with pytest.raises(InvalidRequestError):
            answer(plain, sql)

    def test_a_value_that_cannot_be_converted_is_rejected_without_being_shown(self, plain: Engine) -> None:
        import pyarrow as pa

        with pytest.raises(DataRejectedError) as caught:
            answer(plain, "SELECT CAST(v AS INTEGER) AS n FROM t", tables={"t": pa.table({"v": ["4111 1111"]})})
        assert "4111" not in str(caught.value)

    def test_tables_whose_columns_differ_only_in_case_are_refused(self, plain: Engine) -> None:
        import pyarrow as pa

        with pytest.raises(InvalidRequestError, match="case"):
            answer(plain, "SELECT * FROM t", tables={"t": pa.table({"a": [1], "A": [2]})})

    def test_a_statement_of_a_workspace_reads_tables_and_streams(self, workspace: Workspace, orders: Table) -> None:
        import pyarrow as pa

        view = TableView(orders, where=(Comparison("id", "<=", 2),), addressed=True)
        stream = pa.table({"id": [2, 3]}).to_reader()
        sql = f"CREATE TABLE both_ AS SELECT o.id, {POSITION_COLUMN} FROM o JOIN s USING (id)"
        workspace.execute(sql, inputs={"o": view, "s": stream})
        assert workspace.rows("SELECT id FROM both_") == [(2,)]

    def test_a_name_of_a_statement_is_free_again_after_it(self, workspace: Workspace, orders: Table) -> None:
        for where, count in (((), 4), ((Comparison("id", ">", 2),), 2)):
            found = workspace.rows("SELECT count(*) FROM o", inputs={"o": TableView(orders, where=where)})
            assert found == [(count,)]
        with pytest.raises(InvalidRequestError):
            workspace.rows("SELECT count(*) FROM o")

    def test_rows_wait_in_the_order_in_which_they_came(self, plain: Engine) -> None:
        import pyarrow as pa

        batches = [pa.record_batch({"i": range(start, start + 1000)}) for start in range(0, 300_000, 1000)]
        reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
        with require(self.engine(EngineSettings(threads=4)), Working).workspace() as opened:
            opened.execute("CREATE TABLE t AS SELECT i FROM r", inputs={"r": reader})
            assert opened.rows("SELECT count(*) FROM t WHERE rowid <> i") == [(0,)]

    def test_statements_run_while_a_result_is_being_read(self, workspace: Workspace) -> None:
        import pyarrow as pa

        workspace.execute("CREATE TABLE t AS SELECT * FROM range(200_000) r(i)")
        reader = workspace.stream("SELECT i FROM t", schema=pa.schema([("i", pa.int64())]))
        first = next(iter(reader)).num_rows
        workspace.execute("CREATE OR REPLACE TABLE t AS SELECT 1 AS i")
        assert workspace.rows("SELECT count(*) FROM t") == [(1,)]
        assert first + sum(batch.num_rows for batch in reader) == 200_000

    def test_what_goes_wrong_in_rows_from_outside_keeps_its_kind(self, workspace: Workspace) -> None:
        import pyarrow as pa

        def rows() -> Iterator[pa.RecordBatch]:
            yield pa.record_batch({"a": [1]})
            raise UnavailableError("The source did not answer. Try later.")

        reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), rows())
        with pytest.raises(UnavailableError, match="did not answer"):
            workspace.execute("CREATE TABLE t AS SELECT * FROM r", inputs={"r": reader})

    def test_work_that_outgrows_memory_waits_on_disk_and_leaves_nothing_there(self, tmp_path: Path) -> None:
        settings = EngineSettings(memory_limit_bytes=SMALL_MEMORY_BYTES, threads=1, spill_directory=str(tmp_path))
        with require(self.engine(settings), Working).workspace() as workspace:
            workspace.execute("CREATE TABLE t AS SELECT i, md5(i::VARCHAR) AS v FROM range(3_000_000) r(i)")
            assert any(path.is_file() for path in tmp_path.rglob("*"))
            assert workspace.rows("SELECT count(*), max(v) > 'f' FROM t") == [(3_000_000, True)]
        assert list(tmp_path.iterdir()) == []


def _spelled(value: Any) -> str:  # noqa: ANN401
    """Return a text that tells NaN, and zero from negative zero, whatever the time zone is called."""
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else repr(value)


def answer(engine: Engine, sql: str, **options: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """Return the rows of a query."""
    with engine.query(sql, **options) as rows:
        found: list[dict[str, Any]] = rows.read_all().to_pylist()
        return found


def rows_at(engine: Engine, table: Table, condition: str) -> pa.Table:
    """Return the addresses of the rows that satisfy a condition."""
    sql = f"SELECT {FILE_COLUMN}, {POSITION_COLUMN} FROM o WHERE {condition}"
    with engine.query(sql, tables={"o": TableView(table, addressed=True)}) as rows:
        return rows.read_all()

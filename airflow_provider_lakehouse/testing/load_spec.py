"""The specification of loads: every mode means the same on every backend, for plain values and for hostile ones.

To be inherited by the tests of every backend, beside `table_spec`; see there. Rows are compared by DuckDB.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings
from airflow_provider_lakehouse.core.engines.duckdb import open_engine
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.load.apply import apply_load
from airflow_provider_lakehouse.core.load.changes import commit_changes, row_changes
from airflow_provider_lakehouse.core.load.modes import Append, Dedup, Merge, OverwritePartitions, Scd2, SnapshotDiff
from airflow_provider_lakehouse.core.load.policy import FREEZE, SchemaPolicy
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import HEAD, At, Change, WriteToken, no_probe
from airflow_provider_lakehouse.core.tables.filters import Comparison
from airflow_provider_lakehouse.core.tables.spec import TableSpec

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from airflow_provider_lakehouse.core.load.apply import LoadResult
    from airflow_provider_lakehouse.core.load.modes import Mode
    from airflow_provider_lakehouse.core.tables.base import Catalog, Probe, Table

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = Column("id", "long")
VALUE = Column("v", "string")
HASH = Column("_row_hash", "binary")
TRANSFORMS = (
    "id", "bucket(3, id)", "truncate(10, id)", "year(day)", "month(day)", "day(day)", "hour(at)", "bucket(4, v)",
    "truncate(1, v)",
)  # fmt: skip
PERIODS = (
    Column("valid_from", "date"), Column("valid_to", "date"), Column("is_current", "boolean"),
    Column("change_hash", "binary"),
)  # fmt: skip
HARD_NAMES = ("it's", 'a "b"', "a.b", "ключ 🦆", "x; DROP TABLE y --", "__partition_0", "n" * 300, "_seq")
SHARING_BUCKETS = {"bucket(4, v)": {40}}
"""Ids of the example that fall into a bucket with one that is overwritten; Iceberg's hash decides, so all agree."""


def arrow(**types: str) -> pa.Schema:
    """Return an Arrow schema from column types by name."""
    return Schema(tuple(Column(name, kind) for name, kind in types.items())).to_arrow()


class LoadSpecification:
    """What loads promise on every table."""

    def catalog(self, root: Path, probe: Probe = no_probe) -> Catalog:
        """Open the catalog that lives below a folder; the same folder is the same catalog."""
        raise UnsupportedError("A backend's tests say how its catalog is opened.", root=str(root))

    @pytest.fixture(autouse=True)
    def _lake(self, tmp_path: Path) -> None:
        self.tables = self.catalog(tmp_path)
        self.engine = open_engine(EngineSettings(threads=1))
        self.numbers = count()

    def made(self, *columns: Column, identifier: tuple[str, ...] = (), **spec: Any) -> Table:  # noqa: ANN401
        """Return a new table."""
        table = self.tables.table(f"loads.t{next(self.numbers)}")
        table.create(TableSpec(Schema(columns, identifier), **spec))
        return table

    def load(self, table: Table, rows: pa.Table, mode: Mode, *, policy: SchemaPolicy = FREEZE) -> LoadResult:
        """Load rows under a token of their own."""
        token = WriteToken("loads", f"batch {next(self.numbers)}")
        return apply_load(table, rows.to_reader(), mode=mode, token=token, engine=self.engine, now=NOW, policy=policy)

    def values(self, table: Table, column: str) -> list[Any]:
        """Return the values of a column, ordered as text."""
        return sorted(table.read(columns=(column,)).read_all().column(column).to_pylist(), key=str)

    @pytest.mark.parametrize("transform", TRANSFORMS)
    def test_overwriting_replaces_hidden_partitions_of_the_batch_and_no_others(self, transform: str) -> None:
        import pyarrow as pa

        schema = arrow(id="long", v="string", day="date", at="timestamptz", batch="int")
        moments = (datetime(1969, 12, 31, 23, 30), datetime(1971, 1, 1), datetime(2026, 5, 6, 7))  # noqa: DTZ001
        rows: list[dict[str, Any]] = [
            {"id": i, "v": v, "day": at.date(), "at": at.replace(tzinfo=UTC), "batch": 0}
            for i, v, at in zip((-11, 3, 40), ("a", "b", "ü"), moments, strict=True)
        ]
        rows.append({**dict.fromkeys(schema.names), "batch": 0})
        try:
            table = self.made(*Schema.from_arrow(schema).columns, partitioning=(transform,))
        except UnsupportedError as error:
            assert "partitions by columns only" in str(error)
            return
        self.load(table, pa.Table.from_pylist(rows, schema=schema), Append())
        for number, row in ((1, rows[0]), (2, rows[3])):
            self.load(table, pa.Table.from_pylist([{**row, "batch": number}], schema=schema), OverwritePartitions())
        found = {row["id"]: row["batch"] for row in table.read().read_all().to_pylist()}
        kept = {3, 40} - SHARING_BUCKETS.get(transform, set())
        wanted: dict[int | None, int] = {-11: 1, None: 2}
        assert found == wanted | dict.fromkeys(kept, 0)

    def test_null_composite_and_floating_keys_are_found_again(self) -> None:
        import pyarrow as pa

        table = self.made(Column("a", "long"), Column("b", "string"), Column("x", "double"), VALUE)
        schema = arrow(a="long", b="string", x="double", v="string")
        for zero, value in ((0.0, "old"), (-0.0, "new")):
            keys = [(None, "x", float("nan")), (1, None, zero), (None, None, None), (1, "", float("inf"))]
            rows = [dict(zip(schema.names, (*key, value), strict=True)) for key in keys]
            self.load(table, pa.Table.from_pylist(rows, schema=schema), Merge(("a", "b", "x")))
        assert self.values(table, "v") == ["new"] * 4

    def test_texts_are_keys_byte_by_byte(self) -> None:
        import pyarrow as pa

        table = self.made(VALUE, ID)
        self.load(table, pa.table({"v": ["é", "a"], "id": [1, 2]}), Merge(("v",)))
        self.load(table, pa.table({"v": ["e\u0301", "É", "é", "a "], "id": [3, 4, 5, 6]}), Merge(("v",)))
        assert self.values(table, "id") == [2, 3, 4, 5, 6]

    def test_a_merge_updates_chosen_columns_where_it_may_and_never_backwards(self) -> None:
        import pyarrow as pa

        table = self.made(ID, VALUE, Column("w", "string"), Column("seq", "long"))
        condition, gone = "target.w <> 'fixed'", "source.op = 'd'"
        mode = Merge(("id",), ("v",), condition=condition, sequence="seq", delete_when=gone)
        schema = arrow(id="long", v="string", w="string", seq="long", op="string")
        for batch in (
            [(1, "a", "x", 5, "u"), (2, "b", "fixed", 5, "u"), (3, "c", "x", 5, "u")],
            [(1, "A", "y", 6, "u"), (2, "B", "y", 6, "u"), (3, "C", "y", 4, "d"), (3, "D", "y", 3, "u")],
        ):
            rows = [dict(zip(schema.names, row, strict=True)) for row in batch]
            self.load(table, pa.Table.from_pylist(rows, schema=schema), mode)
        found = table.read(columns=("id", "v", "w", "seq")).read_all().sort_by("id").to_pylist()
        assert [tuple(row.values()) for row in found] == [(1, "A", "x", 6), (2, "b", "fixed", 5), (3, "c", "x", 5)]

    def test_a_column_that_only_looks_as_if_the_merge_used_it_is_unknown(self) -> None:
        import pyarrow as pa

        table = self.made(ID, VALUE)
        rows = pa.table({"id": [1], "v": ["x"], "op": ["u"], "d": ["lost"], "s": ["lost"]})
        with pytest.raises(DataRejectedError) as refused:
            self.load(table, rows, Merge(("id",), delete_when="source.op = 'd'"))
        assert refused.value.facts["unknown"] == ("d", "s")
        self.load(table, rows.drop_columns(["d", "s"]), Merge(("id",), delete_when="\"OP\" = 'd'"))
        assert self.values(table, "id") == [1]

    def test_a_hash_that_the_batch_brings_counts_wherever_its_rows_are(self) -> None:
        import pyarrow as pa

        table = self.made(ID, Column("day", "date"), HASH)
        for number in (1, 2):
            rows = pa.table({"id": [number], "day": [date(2026, 1, number)], "_row_hash": [b"h" * 32]})
            self.load(table, rows, Dedup())
        assert self.values(table, "id") == [1]

    def test_rows_that_differ_in_nulls_types_or_separators_only_are_all_kept(self) -> None:
        import pyarrow as pa

        table = self.made(Column("a", "string"), Column("b", "string"), HASH)
        pairs = [
            ("", None), (None, ""), (None, None), ("a;", "b"), ("a", ";b"), ("1:a", "s1"), ("1:as1", None), ("\x00", ""),
            ("", "\x00"),
        ]  # fmt: skip
        rows = pa.table({"a": [a for a, _ in pairs], "b": [b for _, b in pairs]})
        for _ in range(2):
            self.load(table, rows, Dedup(), policy=SchemaPolicy(missing_columns="fill"))
        assert len(self.values(table, "a")) == len(pairs)

    def test_late_and_repeated_changes_make_the_same_history(self) -> None:
        import pyarrow as pa

        table = self.made(ID, VALUE, *PERIODS)
        for day, value in ((10, "c"), (5, "b"), (1, "a"), (5, "b"), (7, "b"), (10, "c")):
            self.load(table, pa.table({"id": [1], "v": [value], "at": [date(2026, 1, day)]}), Scd2(("id",), "at"))
        found = table.read().read_all().sort_by("valid_from").to_pylist()
        periods = [(row["v"], row["valid_from"].day, row["is_current"]) for row in found]
        assert periods == [("a", 1, False), ("b", 5, False), ("c", 10, True)]

    def test_a_history_may_be_identified_by_key_and_start(self) -> None:
        import pyarrow as pa

        starts = [Column(c.name, c.type, nullable=c.name != "valid_from") for c in PERIODS]
        table = self.made(Column("id", "long", nullable=False), VALUE, *starts, identifier=("id", "valid_from"))
        for day, value in ((1, "a"), (5, "b")):
            self.load(table, pa.table({"id": [1], "v": [value], "at": [date(2026, 1, day)]}), Scd2(("id",), "at"))
        found = table.read().read_all().sort_by("valid_from").to_pylist()
        assert [(row["v"], row["valid_from"].day) for row in found] == [("a", 1), ("b", 5)]

    def test_an_empty_extract_removes_everything_only_when_that_is_allowed(self) -> None:
        import pyarrow as pa

        table = self.made(ID, VALUE)
        rows = pa.table({"id": [1], "v": ["x"]})
        self.load(table, rows, SnapshotDiff(("id",)))
        with pytest.raises(DataRejectedError):
            self.load(table, rows.slice(0, 0), SnapshotDiff(("id",)))
        assert self.load(table, rows.slice(0, 0), SnapshotDiff(("id",), max_deleted_share=1)).rows_deleted == 1

    def test_the_changes_that_a_full_extract_makes_are_read_back(self) -> None:
        import pyarrow as pa

        key, nested = Column("id", "long", nullable=False), Column("m", "map<string,list<int>>")
        table = self.made(key, VALUE, Column("x", "double"), nested, identifier=("id",))
        keys = table.facts().schema.identifier or ("id",)
        extracts: tuple[dict[int, str | None], ...] = (
            {1: "a", 2: "b", 3: "c", 4: None},
            {1: "a", 2: "B", 4: None, 5: "e"},
        )
        loads = []
        for extract in extracts:
            rows = [{"id": i, "v": v, "x": float("nan"), "m": [("k", [1, None])]} for i, v in extract.items()]
            batch = pa.Table.from_pylist(rows, schema=table.facts().schema.to_arrow())
            loads.append(self.load(table, batch, SnapshotDiff(("id",), max_deleted_share=1)))
        first, second = loads
        old, new = ("update_before", 2, "b"), ("update_after", 2, "B")
        assert self.changes(table, first) == [("insert", i, v) for i, v in extracts[0].items()]
        assert self.changes(table, second, keys=keys) == [("delete", 3, "c"), ("insert", 5, "e"), new, old]
        assert {kind for kind, *_ in self.changes(table, second, keys=())} == {"insert", "delete"}
        table.commit(Change(), token=WriteToken("loads", "nothing"))
        with row_changes(table, before=At(version=second.commit.version), after=HEAD, engine=self.engine) as found:
            assert found.read_all().num_rows == 0
        with pytest.raises(InvalidRequestError), commit_changes(table, 12345, engine=self.engine):
            pass

    def changes(self, table: Table, load: LoadResult, **options: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
        """Return what a load changed: kind, id and value."""
        with commit_changes(table, load.commit.version, engine=self.engine, **options) as rows:
            return sorted(((row["_change_type"], row["id"], row["v"]) for row in rows.read_all().to_pylist()), key=str)

    def test_changes_are_read_across_a_new_column_and_on_a_branch(self) -> None:
        import pyarrow as pa

        table = self.made(ID, VALUE)
        first = self.load(table, pa.table({"id": [1], "v": ["a"]}), Append())
        self.load(
            table, pa.table({"id": [2], "v": ["b"], "n": [7]}), Append(), policy=SchemaPolicy(new_columns="evolve")
        )
        with row_changes(table, before=At(version=first.commit.version), engine=self.engine) as rows:
            assert rows.read_all().to_pylist() == [{"id": 2, "v": "b", "n": 7, "_change_type": "insert"}]
        staged = pa.table({"id": [3], "v": ["c"], "n": [8]})
        table.commit(Change(rows=staged.to_reader(), branch="audit"), token=WriteToken("loads", "staged"))
        with row_changes(table, before=HEAD, after=At(branch="audit"), engine=self.engine) as rows:
            assert rows.read_all().column("id").to_pylist() == [3]

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            ("decimal(5,2)", [Decimal("12345.67")]), ("decimal(5,2)", [Decimal("1.234")]), ("int", [2**31]),
            ("float", [0.1]), ("int", [float("nan")]), ("long", [float("inf")]), ("date", ["2026-01-01"]), ("string", [1]),
        ],
    )  # fmt: skip
    def test_values_that_their_column_cannot_hold_are_refused_before_anything_is_written(
        self, kind: str, values: list[Any]
    ) -> None:
        import pyarrow as pa

        table = self.made(ID, Column("x", kind))
        with pytest.raises(DataRejectedError):
            self.load(table, pa.table({"id": [1], "x": values}), Append())
        assert table.read().read_all().num_rows == 0

    def test_instants_outside_of_pythons_years_are_kept_and_found(self) -> None:
        import pyarrow as pa

        table = self.made(ID, Column("day", "date"), Column("at", "timestamptz"), sort_order=("at",))
        days = pa.array([-(2**31), -1, 4_000_000], pa.int32()).cast(pa.date32())
        instants = pa.array([-(2**62), -1, 4 * 10**17], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
        rows = pa.table({"id": [1, 2, 3], "day": days, "at": instants})
        for _ in range(2):
            self.load(table, rows, Merge(("day", "at")))
        found = table.read().read_all().sort_by("id")
        assert found.column("day").cast(pa.int32()).to_pylist() == [-(2**31), -1, 4_000_000]
        assert found.column("at").cast(pa.int64()).to_pylist() == [-(2**62), -1, 4 * 10**17]

    def test_a_partition_that_cannot_be_named_is_refused(self) -> None:
        import pyarrow as pa

        with pytest.raises(InvalidRequestError):
            self.made(Column("x", "double"), partitioning=("x",))
        table = self.made(ID, Column("day", "date"), partitioning=("day",))
        rows = pa.table({"id": [1], "day": pa.array([4_000_000], pa.int32()).cast(pa.date32())})
        with pytest.raises(DataRejectedError):
            self.load(table, rows, Append())
        assert table.read().read_all().num_rows == 0

    @pytest.mark.parametrize(
        ("kind", "least", "lowest"),
        [("int", -(2**31), -(2**31) + 8), ("long", -(2**63), -(2**63) + 8),
         ("decimal(38,2)", Decimal(f"-{'9' * 36}.99"), Decimal(f"-{'9' * 36}.90"))],
    )  # fmt: skip
    def test_a_number_too_low_to_be_truncated_is_refused_and_the_next_ones_are_found(
        self, kind: str, least: object, lowest: object
    ) -> None:
        import pyarrow as pa

        try:
            table = self.made(Column("x", kind), VALUE, partitioning=("truncate(10, x)",))
        except UnsupportedError as error:
            assert "partitions by columns only" in str(error)
            return
        schema = arrow(x=kind, v="string")
        with pytest.raises(DataRejectedError, match="rounded down"):
            self.load(table, pa.Table.from_pylist([{"x": least, "v": "a"}], schema=schema), Append())
        for value in ("a", "b"):
            rows = [{"x": x, "v": value} for x in (lowest, 0, None)]
            self.load(table, pa.Table.from_pylist(rows, schema=schema), Merge(("x",)))
        assert self.values(table, "v") == ["b"] * 3

    @pytest.mark.parametrize("transform", ["year(day)", "month(day)", "day(day)", "day"])
    def test_the_first_and_the_last_day_of_the_calendar_are_keys_in_their_partitions(self, transform: str) -> None:
        import pyarrow as pa

        try:
            table = self.made(Column("day", "date"), VALUE, partitioning=(transform,))
        except UnsupportedError as error:
            assert "partitions by columns only" in str(error)
            return
        for value in ("a", "b"):
            for days in ([date.max, date.max - timedelta(days=1)], [date.min, date.min + timedelta(days=1)]):
                self.load(table, pa.table({"day": days, "v": [value] * 2}), Merge(("day",)))
        assert self.values(table, "v") == ["b"] * 4
        for operator in ("<", "<=", "=", ">=", ">"):
            found = [table.read(where=(Comparison("day", operator, end),)).read_all() for end in (date.min, date.max)]
            wanted = {"<": [0, 3], "<=": [1, 4], "=": [1, 1], ">=": [4, 1], ">": [3, 0]}
            assert [rows.num_rows for rows in found] == wanted[operator]

    @pytest.mark.parametrize("partitioning", [(), ("v",)])
    def test_characters_of_every_plane_are_keys_and_partitions(self, partitioning: tuple[str, ...]) -> None:
        import pyarrow as pa

        table = self.made(VALUE, ID, partitioning=partitioning)
        texts = ["\x01", "\ufeff", "\uffff", "\U0001f986", "\U000fffff", "\U00100000", "\U0010ffff"]
        for number in (1, 2):
            for text in texts:
                self.load(table, pa.table({"v": [text], "id": [number]}), Merge(("v",)))
        assert self.values(table, "v") == texts
        assert self.values(table, "id") == [2] * len(texts)

    @pytest.mark.parametrize("partitioning", [(), ("v",)])
    @pytest.mark.parametrize("mode", [Append(), Merge(("id",))])
    def test_a_text_that_is_not_utf8_is_refused(self, mode: Mode, partitioning: tuple[str, ...]) -> None:
        import pyarrow as pa

        table = self.made(ID, VALUE, partitioning=partitioning)
        texts = pa.array([b"\xff", b"ok"], pa.binary()).view(pa.string())
        with pytest.raises(DataRejectedError):
            self.load(table, pa.table({"id": [1, 2], "v": texts}), mode)
        assert table.read().read_all().num_rows == 0

    @pytest.mark.parametrize("name", ["_file", "_pos"])
    def test_a_column_with_the_name_of_an_address_is_read_and_may_not_be_merged(self, name: str) -> None:
        import pyarrow as pa

        table = self.made(ID, Column(name, "string"))
        rows = pa.table({"id": [1], name: ["a"]})
        self.load(table, rows, Append())
        assert table.read().read_all().to_pylist() == rows.to_pylist()
        with pytest.raises(InvalidRequestError, match="Rename"):
            self.load(table, rows, Merge(("id",)))

    @pytest.mark.parametrize("name", HARD_NAMES)
    def test_column_names_of_any_kind_are_sorted_merged_and_read(self, name: str) -> None:
        import pyarrow as pa

        table = self.made(Column(name, "long"), VALUE, sort_order=(name,))
        for value in ("a", "b"):
            self.load(table, pa.table({name: [2, 1], "v": [value] * 2}), Merge((name,)))
        assert table.read().read_all().sort_by(name).to_pylist() == [{name: 1, "v": "b"}, {name: 2, "v": "b"}]

    def test_names_that_are_kept_for_the_way_into_a_table_are_refused(self) -> None:
        with pytest.raises(InvalidRequestError, match="kept"):
            self.made(Column("__lakehouse_row", "long"))

    def test_very_long_names_of_tables_and_branches_are_taken_or_refused_by_the_callers_mistake(self) -> None:
        import pyarrow as pa

        table = self.made(ID)
        table.commit(Change(rows=pa.table({"id": [1]}).to_reader(), branch="b" * 300), token=WriteToken("loads", "a"))
        assert table.read(at=At(branch="b" * 300)).read_all().num_rows == 1
        try:
            long = self.tables.table(f"loads.{'t' * 300}")
        except InvalidRequestError:
            return
        assert long.create(TableSpec(Schema.of(ID)))
        long.drop()

    def test_a_thousand_partitions_are_written_sorted_in_one_commit(self) -> None:
        import pyarrow as pa

        table = self.made(ID, Column("day", "date"), partitioning=("day",))
        days = [date(2020, 1, 1) + timedelta(days=number) for number in range(1000)]
        rows = pa.table({"id": range(2000), "day": days * 2})
        self.load(table, rows, Append())
        assert table.facts().files in (1000, 1)
        assert table.facts().rows in (2000, None)

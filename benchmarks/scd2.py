"""Area `scd2`: five days of changes into a history of 200,000 keys."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.area import Area, Contender
from benchmarks.contents import READERS, added_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from benchmarks.area import Answer, Job

KEYS = 200_000
CHANGED, NEW, DAYS = 18_000, 2_000, 5
ATTRIBUTES = ("name", "city", "segment", "balance")
PERIOD = ("valid_from", "valid_to", "is_current")
MEASURES = {
    "rows": "count(*)",
    "current": "count(*) FILTER (is_current)",
    "closed": "count(valid_to)",
    "no_city": "count(*) FILTER (city IS NULL)",
    "balance": "sum(balance)::DECIMAL(30,2)",
    "starts": "sum(epoch(valid_from))::HUGEINT",
    "ends": "sum(epoch(valid_to))::HUGEINT",
}


def _sizes(scale: float) -> tuple[int, int, int]:
    return max(100, round(KEYS * scale)), max(18, round(CHANGED * scale)), max(2, round(NEW * scale))


def _day(day: int, scale: float) -> str:
    """Return DuckDB SQL of the rows of a day; day 0 is the first load."""
    keys, changed, new = _sizes(scale)
    if day == 0:
        chosen = f"SELECT i FROM range({keys}) t(i)"
    else:
        chosen = (
            f"SELECT (i * 11 + {day} * 13007) % {keys} AS i FROM range({changed}) t(i) UNION ALL "
            f"SELECT {keys} + {day - 1} * {new} + i FROM range({new}) t(i)"
        )
    return (
        f"SELECT i AS customer, 'customer ' || i AS name, "
        f"CASE WHEN i % 50 <> 3 THEN ['Bern', 'Oslo', 'Graz', 'Lyon', 'Bari'][1 + (i + {day}) % 5] END AS city, "
        f"['home', 'shop', 'firm'][1 + i % 3] AS segment, "
        f"CAST((i * 131 + {day} * 17) % 100000 / 100 + {day} AS DECIMAL(12,2)) AS balance, "
        f"TIMESTAMP '2026-01-01 00:00:00' + to_days({day}) AS changed_at FROM ({chosen})"
    )


def _file(folder: Path, day: int) -> Path:
    return folder / f"day-{day}.parquet"


def prepare(folder: Path, scale: float) -> Mapping[str, Answer]:
    """Make the days, and the history that they come to."""
    import duckdb

    connection = duckdb.connect()
    for day in range(DAYS + 1):
        connection.execute(f"COPY ({_day(day, scale)}) TO '{_file(folder, day)}' (FORMAT parquet)")
    end = "lead(changed_at) OVER (PARTITION BY customer ORDER BY changed_at)"
    history = (
        f"SELECT *, changed_at AS valid_from, {end} AS valid_to, valid_to IS NULL AS is_current "
        f"FROM '{folder}/day-*.parquet'"
    )
    return {"history": added_up(connection.sql(history).to_arrow_reader(65_536), MEASURES)}


def _days(job: Job) -> list[Path]:
    return [_file(job.inputs, day) for day in range(1, DAYS + 1)]


def stage_ours(job: Job, *, table_format: str) -> None:
    """Load the first day with ours."""
    import pyarrow.parquet as pq

    from airflow_provider_lakehouse.core.schema import Column, Schema
    from benchmarks import ours as provider

    rows = pq.read_table(_file(job.inputs, 0))
    given = Schema.from_arrow(rows.drop_columns("changed_at").schema).columns
    period = (
        Column("valid_from", "timestamp"), Column("valid_to", "timestamp"), Column("is_current", "boolean"),
        Column("change_hash", "binary"),
    )  # fmt: skip
    table = provider.open_table(job.folder / "lake", table_format)
    provider.create(table, Schema((*given, *period)))
    provider.load(table, rows.to_reader(), mode=_mode(), batch="day 0")


def _mode() -> Any:  # noqa: ANN401
    from airflow_provider_lakehouse.core.load.modes import Scd2

    return Scd2(keys=("customer",), effective_at="changed_at")


def ours(job: Job, *, table_format: str) -> Callable[[], object]:
    """Load each day in mode `scd2`."""
    import pyarrow.parquet as pq

    from benchmarks import ours as provider

    table, engine = provider.open_table(job.folder / "lake", table_format), provider.open_engine()
    table.facts()  # opens the catalog

    def work() -> None:
        for path in _days(job):
            provider.load(table, pq.read_table(path).to_reader(), mode=_mode(), batch=path.stem, engine=engine)

    return work


def check_ours(job: Job, *, table_format: str) -> Answer:
    """Add up the table of ours."""
    folder = job.folder / ("lake/bench/result" if table_format == "delta" else "lake")
    return added_up(READERS[table_format](folder, ["city", "balance", *PERIOD]), MEASURES)


def _first_history(connection: Any, job: Job) -> Any:  # noqa: ANN401
    return connection.sql(
        "SELECT * EXCLUDE (changed_at), changed_at AS valid_from, CAST(NULL AS TIMESTAMP) AS valid_to, "
        "true AS is_current "
        f"FROM '{_file(job.inputs, 0)}'"
    )


def stage_delta(job: Job) -> None:
    """Write the first day with delta-rs."""
    import duckdb
    from deltalake import write_deltalake

    write_deltalake(str(job.folder / "lake"), _first_history(duckdb.connect(), job).to_arrow_table())


def check_delta(job: Job) -> Answer:
    """Add up the table of delta-rs."""
    return added_up(READERS["delta"](job.folder / "lake", ["city", "balance", *PERIOD]), MEASURES)


def delta_merge(job: Job) -> Callable[[], object]:
    """Close and open in one MERGE: each change stands twice in its source, once without a key."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from deltalake import DeltaTable

    table = DeltaTable(str(job.folder / "lake"))
    opened = {name: f"s.{name}" for name in ("customer", *ATTRIBUTES)} | {
        "valid_from": "s.changed_at",
        "is_current": "true",
    }

    def work() -> None:
        for path in _days(job):
            rows = pq.read_table(path)
            closing = rows.append_column("merge_key", rows.column("customer"))
            opening = rows.append_column("merge_key", pa.nulls(rows.num_rows, pa.int64()))
            merger = table.merge(
                pa.concat_tables([closing, opening]),
                predicate="t.customer = s.merge_key AND t.is_current = true",
                source_alias="s", target_alias="t",
            )  # fmt: skip
            merger = merger.when_matched_update({"valid_to": "s.changed_at", "is_current": "false"})
            merger.when_not_matched_insert(opened, predicate="s.merge_key IS NULL").execute()

    return work


def rewrite_of(history: str, day: Path, after: Path) -> str:
    """Return the statement that writes the history of the next day."""
    return (
        "COPY (SELECT h.* REPLACE (CASE WHEN h.is_current AND s.customer IS NOT NULL THEN s.changed_at "
        "ELSE h.valid_to END AS valid_to, h.is_current AND s.customer IS NULL AS is_current) "
        f"FROM {history} h LEFT JOIN '{day}' s USING (customer) UNION ALL SELECT * EXCLUDE (changed_at), changed_at, "
        f"NULL, true FROM '{day}') TO '{after}' (FORMAT parquet, COMPRESSION zstd)"
    )


def delta_by_hand(job: Job) -> Callable[[], object]:
    """Write the history anew each day with DuckDB, and swap the file in by one commit: no token, no conflict check."""
    import time

    import duckdb
    from deltalake import DeltaTable
    from deltalake.transaction import AddAction

    connection = duckdb.connect()
    lake = job.folder / "lake"
    table = DeltaTable(str(lake))

    def work() -> None:
        for day in _days(job):
            files = ", ".join(f"'{uri.removeprefix('file://')}'" for uri in table.file_uris())
            after = lake / f"{day.stem}.parquet"
            connection.execute(rewrite_of(f"read_parquet([{files}])", day, after))
            added = AddAction(after.name, after.stat().st_size, {}, int(time.time() * 1000), True, "{}")
            table.create_write_transaction([added], mode="overwrite", schema=table.schema(), partition_by=[])
            table.update_incremental()

    return work


def by_hand(job: Job) -> Callable[[], object]:
    """Write the history anew each day, as one Parquet file: no table, no commit."""
    import duckdb

    connection = duckdb.connect()
    before = job.folder / "history-0.parquet"
    _first_history(connection, job).write_parquet(str(before))

    def work() -> None:
        history = before
        for number, day in enumerate(_days(job), 1):
            after = job.folder / f"history-{number}.parquet"
            connection.execute(rewrite_of(f"'{history}'", day, after))
            history = after

    return work


def check_by_hand(job: Job) -> Answer:
    """Add up the last file."""
    from benchmarks.contents import parquet_rows

    return added_up(parquet_rows(f"{job.folder}/history-{DAYS}.parquet", ["city", "balance", *PERIOD]), MEASURES)


def _ours(table_format: str) -> Contender:
    how: dict[str, Any] = {"table_format": table_format}
    return Contender(
        f"scd2 [{table_format}]", "ours", table_format, partial(ours, **how), partial(stage_ours, **how),
        partial(check_ours, **how), "history",
    )  # fmt: skip


def _limit(group: str) -> Contender:
    return Contender(
        f"DuckDB rewrite by hand [{group}]", "limit", group, by_hand, check=check_by_hand, expects="history"
    )


AREA = Area(
    name="scd2",
    title="five days of 18,000 changed and 2,000 new keys into a history of 200,000; seconds of all five",
    clock="work",
    prepare=prepare,
    rounds=5,
    contenders=(
        _ours("delta"),
        Contender("delta-rs MERGE, staged union", "peer", "delta", delta_merge, stage_delta, check_delta, "history"),
        Contender(
            "DuckDB rewrite + delta-rs commit", "peer", "delta", delta_by_hand, stage_delta, check_delta, "history"
        ),
        _limit("delta"),
        _ours("iceberg"),
        _limit("iceberg"),
    ),
)

"""The PostgreSQL source against a real server."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, UnavailableError
from airflow_provider_lakehouse.core.sources.base import ExtractPlan, Rejects, Source
from airflow_provider_lakehouse.core.sources.postgres.source import open_source
from airflow_provider_lakehouse.core.sources.relations import PartitionRange

from .postgres_rows import NOW, OURS, database, dsn, rows_of, source, sql, table_of, wait_until
from .postgres_server import PostgresServer

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.sources.postgres.source import PostgresSource

__all__ = ["database", "dsn", "sql"]

ENDLESS = "SELECT i, repeat('x', 1000) AS v FROM (SELECT generate_series(1, 1000000000) AS i) AS numbers"


def test_an_empty_table_gives_its_schema_and_no_rows(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t (a bigint NOT NULL, b text)")
    table = table_of(source(dsn, "t"))
    assert table.num_rows == 0
    assert table.schema.field("a") == pa.field("a", pa.int64(), nullable=False)


def test_partitioned_and_inherited_tables_are_read_whole_in_ranges(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE p (i int, pad text) PARTITION BY RANGE (i)")
    sql("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10000); CREATE TABLE p2 PARTITION OF p DEFAULT")
    sql("INSERT INTO p SELECT i, repeat('x', 1900) FROM generate_series(1, 20000) AS i")
    sql("CREATE TABLE parent (i int, pad text); CREATE TABLE child () INHERITS (parent)")
    sql("INSERT INTO parent SELECT * FROM p1; INSERT INTO child SELECT * FROM p2")
    for relation in ("p", "parent"):
        of = source(dsn, relation, columns=("i",))
        plan = of.plan(position=None, now=NOW)
        assert len(plan.slices) > 1
        assert sorted(row["i"] for row in rows_of(of, plan)) == list(range(1, 20_001))


def test_views_materialised_views_and_queries_are_read(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT i FROM generate_series(1, 5) AS i")
    sql("CREATE VIEW v AS SELECT i FROM t; CREATE MATERIALIZED VIEW m AS SELECT i FROM t")
    expected = [{"i": i} for i in range(1, 6)]
    assert rows_of(source(dsn, "v")) == expected
    assert rows_of(source(dsn, "public.m")) == expected
    assert rows_of(source(dsn, query="SELECT i FROM t -- all of it; ")) == expected
    assert rows_of(source(dsn, query="SELECT i FROM t WHERE 'a%b' LIKE 'a%%';")) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"relation": "nowhere"},
        {"relation": "t", "columns": ("nothing",)},
        {"query": "SELECT FROM WHERE"},
        {"query": "SELECT 1 AS a, 2 AS a"},
        {"query": "SELECT"},
        {"query": "SELECT 1 AS _source_row"},
        {"query": "SELECT nextval('s')"},
        {"relation": "t", "as_text": ("nothing",)},
        {"relation": "t", "mode": "incremental", "cursor": "j"},
        {"relation": "t", "mode": "partition", "partition": PartitionRange("i", "one")},
        {"relation": "t", "mode": "partition", "partition": PartitionRange("nothing", "1")},
    ],
)
def test_what_cannot_be_read_is_an_invalid_request(dsn: str, sql: Any, settings: dict[str, Any]) -> None:
    sql("CREATE TABLE t (i int, j jsonb); CREATE SEQUENCE s")
    with pytest.raises(InvalidRequestError):
        table_of(source(dsn, **settings))


def test_an_expression_that_fails_on_a_value_is_rejected_data_and_names_no_value(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 'secret value' AS v")
    with pytest.raises(DataRejectedError) as caught:
        table_of(source(dsn, query="SELECT v::int FROM t"))
    assert "secret" not in str(caught.value)


def test_the_source_keeps_the_contract(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS i")
    of = open_source(dsn=dsn, relation="public.t")
    assert isinstance(of, Source)
    plan = of.plan(position=None, now=NOW)
    again = ExtractPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert again.planned_at == NOW
    assert rows_of(of, again) == [{"i": 1}]
    sql("CREATE TABLE other AS SELECT 1 AS i")
    with pytest.raises(InvalidRequestError, match="another source"):
        of.read(source(dsn, "other").plan(position=None, now=NOW), rejects=Rejects())


def test_plans_over_the_same_state_are_equal_and_over_another_are_not(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS i")
    of = source(dsn, "t")
    before = of.plan(position=None, now=NOW).fingerprint
    assert of.plan(position=None, now=NOW + timedelta(hours=1)).fingerprint == before
    sql("UPDATE t SET i = 2")
    assert of.plan(position=None, now=NOW).fingerprint != before


def test_a_plan_is_refused_once_the_columns_changed(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS i")
    of = source(dsn, "t")
    plan = of.plan(position=None, now=NOW)
    sql("ALTER TABLE t ALTER i TYPE bigint")
    with pytest.raises(DataRejectedError, match="Plan anew"):
        of.read(plan, rejects=Rejects())


@pytest.mark.parametrize("columns", [(), ("i", "gone")])
def test_a_plan_is_refused_once_a_column_was_dropped(dsn: str, sql: Any, columns: tuple[str, ...]) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS i, 2 AS gone")
    of = source(dsn, "t", columns=columns)
    plan = of.plan(position=None, now=NOW)
    sql("ALTER TABLE t DROP COLUMN gone")
    with pytest.raises((DataRejectedError, InvalidRequestError)):
        of.read(plan, rejects=Rejects())


def test_ranges_planned_before_the_table_grew_and_shrank_still_hold_every_row(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT i, repeat('x', 1900) AS pad FROM generate_series(1, 10000) AS i")
    of = source(dsn, "t", columns=("i",))
    plan = of.plan(position=None, now=NOW)
    assert len(plan.slices) > 1
    sql("INSERT INTO t SELECT i, repeat('x', 1900) FROM generate_series(10001, 20000) AS i")
    assert sorted(row["i"] for row in rows_of(of, plan)) == list(range(1, 20_001))
    sql("DELETE FROM t WHERE i > 10")
    sql("VACUUM FULL t")
    assert sorted(row["i"] for row in rows_of(of, plan)) == list(range(1, 11))


def test_parallel_ranges_under_concurrent_updates_equal_one_snapshot(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT i, 0 AS amount, repeat('x', 1000) AS pad FROM generate_series(1, 40000) AS i")
    sql("CREATE INDEX ON t (i)")
    enough, started = threading.Event(), threading.Event()

    def move_amounts() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for number in range(1_000_000):
                first, second = (number * 7919) % 40_000 + 1, (number * 104_729) % 40_000 + 1
                connection.execute(
                    "WITH a AS (UPDATE t SET amount = amount + 1 WHERE i = %s RETURNING 1)"
                    " INSERT INTO t SELECT 0, -1, '' FROM a WHERE %s > 0",
                    [first, second],
                )
                started.set()
                if enough.is_set():
                    return

    mover = threading.Thread(target=move_amounts)
    mover.start()
    try:
        assert started.wait(30)
        of = source(dsn, "t", columns=("i", "amount"), parallelism=3)
        for _ in range(3):
            plan = of.plan(position=None, now=NOW)
            assert len(plan.slices) >= 3
            table = table_of(of, plan)
            assert sum(table["amount"].to_pylist()) == 0
            ids = [i for i in table["i"].to_pylist() if i]
            assert sorted(ids) == list(range(1, 40_001))
    finally:
        enough.set()
        mover.join()


def test_a_read_that_waits_for_a_truncating_load_sees_what_it_loaded(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT i FROM generate_series(1, 3) AS i")
    of = source(dsn, "t")
    plan = of.plan(position=None, now=NOW)
    rows: list[dict[str, Any]] = []
    with psycopg.connect(dsn) as load:
        load.execute("TRUNCATE t")
        load.execute("INSERT INTO t VALUES (4), (5)")
        waiting = threading.Thread(target=lambda: rows.extend(rows_of(of, plan)))
        waiting.start()
        wait_until(lambda: sql(f"SELECT count(*) {OURS} AND wait_event_type = 'Lock'").fetchone() == (1,))
    waiting.join()
    assert rows == [{"i": 4}, {"i": 5}]


ENDLESS = "SELECT i, repeat('x', 1000) AS v FROM (SELECT generate_series(1, 1000000000) AS i) AS numbers"


def reader_of(of: PostgresSource) -> pa.RecordBatchReader:
    return of.read(of.plan(position=None, now=NOW), rejects=Rejects())


def copy_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("copy ")]


def test_a_session_that_is_killed_raises_and_never_ends_early(dsn: str, sql: Any) -> None:
    reader = reader_of(source(dsn, query=ENDLESS))
    reader.read_next_batch()
    assert sql(f"SELECT pg_terminate_backend(pid) {OURS}").rowcount == 1
    with pytest.raises(UnavailableError):
        reader.read_all()
    assert not copy_threads()


def test_one_killed_session_of_several_raises(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT i, repeat('x', 1900) AS pad FROM generate_series(1, 40000) AS i")
    reader = reader_of(source(dsn, "t"))
    reader.read_next_batch()
    assert sql(f"SELECT count(*) {OURS}").fetchone() == (2,)
    sql(f"SELECT pg_terminate_backend(max(pid)) {OURS}")
    with pytest.raises(UnavailableError):
        reader.read_all()


def test_a_server_that_crashes_raises() -> None:
    with PostgresServer() as server:
        of = source(server.dsn, query=ENDLESS)
        reader = reader_of(of)
        reader.read_next_batch()
        server.crash()
        with pytest.raises(UnavailableError):
            reader.read_all()
        with pytest.raises(UnavailableError):
            of.plan(position=None, now=NOW)


def test_an_error_on_the_last_of_many_rows_raises(dsn: str) -> None:
    query = "SELECT 1 / (200000 - i) AS v FROM generate_series(1, 200000) AS i"
    with pytest.raises(DataRejectedError):
        reader_of(source(dsn, query=query)).read_all()


def test_a_reader_that_is_dropped_early_leaves_no_thread_and_no_session(dsn: str, sql: Any) -> None:
    reader = reader_of(source(dsn, query=ENDLESS))
    reader.read_next_batch()
    assert copy_threads()
    del reader
    assert not copy_threads()
    wait_until(lambda: sql(f"SELECT count(*) {OURS}").fetchone() == (0,))


def test_a_reader_that_is_never_read_leaves_no_session(dsn: str, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS i")
    reader = reader_of(source(dsn, "t"))
    assert reader.schema.names[0] == "i"
    del reader
    wait_until(lambda: sql(f"SELECT count(*) {OURS}").fetchone() == (0,))


def test_a_cancelled_statement_raises(dsn: str, sql: Any) -> None:
    of = source(dsn, query="SELECT count(*) FROM (SELECT generate_series(1, 100000000000)) AS n")
    reader = reader_of(of)
    failure: list[BaseException] = []

    def read() -> None:
        try:
            reader.read_all()
        except UnavailableError as error:
            failure.append(error)

    waiting = threading.Thread(target=read)
    waiting.start()
    copying = "FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'"
    wait_until(lambda: sql(f"SELECT count(*) {copying}").fetchone() == (1,))
    sql(f"SELECT pg_cancel_backend(pid) {copying}")
    waiting.join()
    assert len(failure) == 1


def test_no_message_holds_the_password(dsn: str, postgres_server: PostgresServer, sql: Any) -> None:
    sql("CREATE TABLE t AS SELECT 1 AS i")
    password = psycopg.conninfo.conninfo_to_dict(dsn)["password"]
    wrong = dsn.replace(password, "wr0ng-secret")
    for bad, kind in (
        (wrong, InvalidRequestError),
        ("postgresql//user:wr0ng-secret@host/db", InvalidRequestError),
        (wrong.replace(f":{postgres_server.port}/", ":1/"), UnavailableError),
        (dsn.replace("/test_", "/absent_"), InvalidRequestError),
    ):
        with pytest.raises(kind) as caught:
            source(bad, "t").plan(position=None, now=NOW)
        shown = f"{caught.value} {caught.value.__cause__} {caught.value.__context__ if caught.value.__cause__ else ''}"
        assert "wr0ng-secret" not in shown
        assert password not in shown
        assert pickle.loads(pickle.dumps(caught.value)).facts == caught.value.facts
    of = source(dsn, "t")
    assert password not in of.identity + repr(of.settings) + json.dumps(of.plan(position=None, now=NOW).to_json())


def test_a_missing_privilege_is_an_invalid_request(dsn: str, sql: Any) -> None:
    role = f"reader_{uuid.uuid4().hex}"
    sql(f"CREATE TABLE t AS SELECT 1 AS i; CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    sql(f"GRANT USAGE ON SCHEMA public TO {role}")
    weak = psycopg.conninfo.make_conninfo(dsn, user=role, password="pw")
    with pytest.raises(InvalidRequestError, match="privilege"):
        source(weak, "t").plan(position=None, now=NOW)


@pytest.mark.slow
def test_memory_stays_bounded_whatever_the_size(dsn: str) -> None:
    """Reads 1.2 GB of text in a process of its own."""
    program = f'''
from datetime import UTC, datetime
from airflow_provider_lakehouse.core.sources.base import Rejects
from airflow_provider_lakehouse.core.sources.postgres.source import open_source
source = open_source(dsn={dsn!r}, query="""
    SELECT i, repeat('x', 1000) AS v FROM (SELECT generate_series(1, 1200000) AS i) AS n
""")
rows = sum(b.num_rows for b in source.read(source.plan(position=None, now=datetime.now(UTC)), rejects=Rejects()))
status = open("/proc/self/status").read()  # the peak of this program; that of getrusage outlives the parent's fork
print(rows, int(status.partition("VmHWM:")[2].split()[0]) // 1024)
'''
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    rows, mebibytes = map(int, done.stdout.split())
    assert rows == 1_200_000
    assert mebibytes < 512

"""Checks of a table that is there: few scans, a verdict for every check, and none that passes because it could not be judged."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.core.engines.base import EngineSettings, TableView
from airflow_provider_lakehouse.core.engines.duckdb import DuckDBEngine
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.quality.broken import BrokenRow, broken_rows
from airflow_provider_lakehouse.core.quality.checks import CheckOutcome, Expectation, RowCheck, TableCheck
from airflow_provider_lakehouse.core.quality.run import ChecksResult, run_checks
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import At, CatalogSettings, Change, Table, WriteToken
from airflow_provider_lakehouse.core.tables.spec import TableSpec

NOW = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
SCHEMA = Schema.of(Column("id", "long", nullable=False), Column("name", "string"), Column("at", "timestamptz"))
ROWS = pa.table(
    {
        "id": [1, 2, 2, 4],
        "name": ["a", "bb", None, "ключ"],
        "at": [dt.datetime(2026, 3, 1, hour, tzinfo=dt.UTC) for hour in (1, 2, 3, 4)],
    },
    schema=SCHEMA.to_arrow(),
)
PRESENT = Expectation("expect_column_values_to_not_be_null", {"column": "name"}, name="name is there")
UNIQUE = Expectation("expect_column_values_to_be_unique", {"column": "id"}, name="id is unique")


class Listening(DuckDBEngine):
    """The engine, remembering what it was asked."""

    def __init__(self) -> None:
        super().__init__(EngineSettings(threads=1))
        self.asked: list[str] = []

    def query(self, sql: str, **options: Any) -> Any:
        self.asked.append(sql)
        return super().query(sql, **options)


@pytest.fixture
def engine() -> Listening:
    return Listening()


@pytest.fixture(params=["memory", "iceberg", "delta"])
def orders(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    scheme = "memory://" if request.param == "memory" else "file://"
    table = find("tables", request.param)(CatalogSettings(request.param, f"{scheme}{tmp_path}/lake")).table(
        "sales.orders"
    )
    table.create(TableSpec(SCHEMA))
    table.commit(Change(rows=ROWS.to_reader()), token=WriteToken("test", 1))
    return table


def ran(engine: DuckDBEngine, *checks: Any, rows: Any = ROWS, **options: Any) -> ChecksResult:
    return run_checks(rows, checks, engine=engine, table="sales.orders", version=1, now=NOW, **options)


def only(engine: DuckDBEngine, check: Any, **options: Any) -> CheckOutcome:
    (outcome,) = ran(engine, check, **options).outcomes
    return outcome


def test_checks_of_a_table_of_every_format_find_the_same(engine: Listening, orders: Table) -> None:
    recent = Expectation("expect_column_max_to_be_recent", {"column": "at", "max_age_seconds": 86_400})
    schema = {"id": "long not null", "name": "string", "at": "timestamptz"}
    structure = Expectation("expect_table_to_match_schema", {"columns": schema})
    found = ran(engine, PRESENT, UNIQUE, recent, structure, rows=orders).outcomes
    assert [(one.verdict, one.violations, one.rows) for one in found] == [
        ("broken", 1, 4),
        ("broken", 2, 4),
        ("passed", 0, None),
        ("passed", 0, None),
    ]


def test_all_statements_of_a_run_see_one_version_while_others_write(orders: Table) -> None:
    class Meanwhile(Listening):
        def query(self, sql: str, **options: Any) -> Any:
            more = pa.table({"id": [9], "name": ["z"], "at": [NOW]}, schema=SCHEMA.to_arrow())
            orders.commit(Change(rows=more.to_reader()), token=WriteToken("other", len(self.asked)))
            return super().query(sql, **options)

    found = ran(Meanwhile(), PRESENT, UNIQUE, RowCheck("id is there", "id > 0"), rows=orders).outcomes
    assert {one.rows for one in found} == {4}


def test_a_branch_is_checked_as_it_is(engine: Listening, tmp_path: Path) -> None:
    table = find("tables", "iceberg")(CatalogSettings("iceberg", f"file://{tmp_path}/lake")).table("sales.orders")
    table.create(TableSpec(SCHEMA))
    table.commit(Change(rows=ROWS.slice(0, 2).to_reader()), token=WriteToken("test", 1))
    table.commit(Change(rows=ROWS.slice(2).to_reader(), branch="staged"), token=WriteToken("test#staged", 1))
    assert only(engine, PRESENT, rows=table).verdict == "passed"
    assert only(engine, PRESENT, rows=TableView(table, At(branch="staged"))).verdict == "broken"


def test_what_aggregates_can_tell_is_asked_in_one_scan(engine: Listening) -> None:
    ran(
        engine,
        PRESENT,
        RowCheck("id is positive", "id > 0"),
        Expectation("expect_column_mean_to_be_between", {"column": "id", "min_value": 1}),
        Expectation("expect_table_row_count_to_equal", {"value": 4}),
        Expectation("expect_column_to_exist", {"column": "id"}),
    )
    assert len(engine.asked) == 1
    assert engine.asked[0].count("count(*),") == 1


def test_the_schema_answers_without_a_row_being_read(engine: Listening) -> None:
    assert only(engine, Expectation("expect_table_column_count_to_equal", {"value": 3})).passed
    assert engine.asked == []


def test_a_suite_of_a_thousand_checks_is_run_in_a_few_scans(engine: Listening) -> None:
    checks = [
        Expectation("expect_column_values_to_be_between", {"column": "id", "min_value": -number, "max_value": number})
        for number in range(1, 1001)
    ]
    result = ran(engine, *checks)
    assert [one.violations for one in result.outcomes[:4]] == [3, 1, 1, 0]
    assert len(result.outcomes) == 1_000
    assert len(engine.asked) <= 10


def test_a_check_of_a_column_that_is_not_there_is_unknown_and_never_passes(engine: Listening) -> None:
    absent = Expectation("expect_column_values_to_be_unique", {"column": "nobody"}, severity="warn")
    outcome = only(engine, absent)
    assert (outcome.verdict, outcome.passed) == ("unknown", False)
    assert "'nobody'" in outcome.error
    assert only(engine, Expectation("expect_column_to_exist", {"column": "nobody"})).verdict == "broken"


@pytest.mark.parametrize(
    "check",
    [
        TableCheck("cast", "SELECT 1 FROM checked WHERE CAST(name AS INTEGER) > 0"),
        RowCheck("cast", "CAST(name AS INTEGER) > 0"),
        TableCheck("absent", "SELECT 1 FROM nowhere"),
        Expectation("expect_column_values_to_exist_in_other_table", {"column": "id", "other_table": "absent"}),
        Expectation("expect_column_mean_to_be_between", {"column": "name", "min_value": 1}),
        Expectation("expect_column_values_to_be_between", {"column": "id", "min_value": "a"}),
        Expectation("expect_column_values_to_not_be_null", {"column": "id"}, row_condition="CAST(name AS INT) > 0"),
        Expectation("expect_column_pair_values_to_be_equal", {"column_A": "id", "column_B": "name"}),
    ],
)
def test_a_check_that_fails_half_way_is_unknown_without_a_value_of_a_row_and_the_others_are_judged(
    engine: Listening, check: Any
) -> None:
    failed, present, unique = ran(engine, check, PRESENT, UNIQUE).outcomes
    assert (failed.verdict, failed.stops) == ("unknown", True)
    assert failed.error
    assert "bb" not in failed.error
    assert "ключ" not in failed.error
    assert (present.violations, unique.violations) == (1, 2)


def test_a_result_with_an_unknown_verdict_stops_with_the_reason(engine: Listening) -> None:
    result = ran(engine, RowCheck("cast", "CAST(name AS INTEGER) > 0"))
    with pytest.raises(DataRejectedError, match="could not be computed"):
        result.require()


@pytest.mark.parametrize(
    "check",
    [
        TableCheck("two", "SELECT 1; SELECT 2"),
        TableCheck("write", "DELETE FROM checked"),
        TableCheck("hidden", "SELECT 1) ; DROP TABLE x; SELECT (1"),
        RowCheck("hidden", "true); DROP TABLE x; --"),
        RowCheck("open", "(id > 0"),
        Expectation("unexpected_rows_expectation", {"unexpected_rows_query": "INSERT INTO {batch} VALUES (1)"}),
        Expectation("unexpected_rows_expectation", {"unexpected_rows_query": "SELECT 1; DROP TABLE {batch}"}),
        Expectation("expect_column_values_to_be_unique", {"column": "id"}, row_condition="1 = 1; SELECT 1"),
    ],
)
def test_sql_that_does_more_than_read_is_refused_before_anything_runs(engine: Listening, check: Any) -> None:
    with pytest.raises(InvalidRequestError, match="only reads"):
        ran(engine, PRESENT, check)
    assert engine.asked == []


def test_a_word_of_a_write_in_a_text_is_no_write(engine: Listening) -> None:
    query = "SELECT * FROM {batch} WHERE name = 'DROP TABLE x; DELETE' -- DELETE\n;"
    assert only(engine, Expectation("unexpected_rows_expectation", {"unexpected_rows_query": query})).passed
    assert only(engine, RowCheck("commented", "id > 0 -- always")).passed


def test_a_pattern_that_explodes_elsewhere_is_matched_in_linear_time(engine: Listening) -> None:
    rows = pa.table({"text": ["a" * 5_000 + "!"] * 200})
    exploding = Expectation("expect_column_values_to_match_regex", {"column": "text", "regex": "^(a+)+$"})
    assert only(engine, exploding, rows=rows).violations == 200


def test_a_table_without_rows_meets_what_is_asked_of_rows_and_not_what_is_asked_of_numbers(engine: Listening) -> None:
    def verdict(name: str, **arguments: Any) -> str:
        return only(engine, Expectation(name, arguments), rows=ROWS.slice(0, 0)).verdict

    assert verdict("expect_column_values_to_not_be_null", column="id") == "passed"
    assert verdict("expect_column_values_to_be_unique", column="id") == "passed"
    assert verdict("expect_column_mean_to_be_between", column="id", min_value=0) == "broken"
    assert verdict("expect_column_max_to_be_recent", column="at", max_age_seconds=60) == "broken"
    assert verdict("expect_table_row_count_to_be_between", min_value=1) == "broken"


def test_mostly_lets_a_share_of_the_rows_with_a_value_break_a_check(engine: Listening) -> None:
    rows = pa.table({"n": [1, 2, 3, -4, None]})

    def positive(mostly: float) -> CheckOutcome:
        arguments = {"column": "n", "min_value": 0}
        return only(engine, Expectation("expect_column_values_to_be_between", arguments, mostly=mostly), rows=rows)

    assert (positive(0.75).verdict, positive(0.76).verdict) == ("passed", "broken")
    assert (positive(0.75).violations, positive(0.75).rows, positive(0.75).missing) == (1, 5, 1)


def test_a_row_condition_limits_what_is_looked_at(engine: Listening) -> None:
    arguments = {"column": "name"}
    only_two = Expectation("expect_column_values_to_not_be_null", arguments, row_condition="id = 2 -- both")
    outcome = only(engine, only_two)
    assert (outcome.rows, outcome.violations) == (2, 1)


def test_a_row_that_names_what_another_table_does_not_have_breaks_the_check_and_a_null_does_not(
    engine: Listening,
) -> None:
    rows = pa.table({"a": [1, 2, None, 3], "b": ["x", "x", "x", None]})
    other = pa.table({"k": [1, 3, None], "l": ["x", "y", "x"]})
    arguments = {"column_list": ["a", "b"], "other_table": "sales.others", "other_columns": ["k", "l"]}
    check = Expectation("expect_column_values_to_exist_in_other_table", arguments)
    outcome = only(engine, check, rows=rows, tables={"sales.others": other})
    assert (outcome.violations, outcome.rows, outcome.missing) == (1, 4, 2)


def test_how_recent_a_column_is_depends_on_the_instant_of_the_check(engine: Listening) -> None:
    recent = Expectation("expect_column_max_to_be_recent", {"column": "at", "max_age_seconds": 3_600 * 20})
    assert only(engine, recent).passed
    assert not only(engine, Expectation(recent.type, {**recent.arguments, "max_age_seconds": 3_600 * 19})).passed
    (without,) = run_checks(ROWS, [recent], engine=engine, table="t", version=1).outcomes
    assert without.verdict == "unknown"


def test_an_instant_without_a_zone_is_refused(engine: Listening) -> None:
    with pytest.raises(InvalidRequestError, match="time zone"):
        run_checks(ROWS, [PRESENT], engine=engine, table="t", version=1, now=NOW.replace(tzinfo=None))


def test_only_the_columns_that_checks_name_are_asked_for(engine: Listening) -> None:
    ran(engine, PRESENT, UNIQUE)
    assert '"name"' in engine.asked[0]
    assert not any(text in engine.asked[0] for text in ('"at"', "SELECT * FROM checked"))


def test_rows_that_an_order_does_not_tell_apart_break_no_order(engine: Listening) -> None:
    rows = pa.table({"at": [1, 1, 2], "n": [5, 4, 5]})
    increasing = Expectation("expect_column_values_to_be_increasing", {"column": "n", "order_by": "at"})
    assert only(engine, increasing, rows=rows).passed
    strictly = Expectation(increasing.type, {**increasing.arguments, "strictly": True})
    assert only(engine, strictly, rows=rows).violations == 1


def test_columns_may_be_named_like_anything_that_statements_use(engine: Listening) -> None:
    names = (
        "value",
        "times",
        "mean",
        "deviation",
        "before",
        "k0",
        "place",
        "total",
        "ranked",
        "counts",
        "checked",
        "c0",
    )
    rows = pa.table({name: [1, 2, 2, 3] for name in names})
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        quantiles = {"quantiles": [0.5, 0.5], "value_ranges": [[2, 2], [2, 2]]}
        checks = (
            Expectation("expect_column_values_to_be_unique", {"column": name}),
            Expectation("expect_compound_columns_to_be_unique", {"column_list": [name, other]}),
            Expectation("expect_column_values_to_be_increasing", {"column": name, "order_by": other}),
            Expectation(
                "expect_column_value_z_scores_to_be_less_than", {"column": name, "threshold": 1, "double_sided": True}
            ),
            Expectation("expect_column_quantile_values_to_be_between", {"column": name, "quantile_ranges": quantiles}),
            Expectation("expect_column_median_to_be_between", {"column": name, "min_value": 2, "max_value": 2}),
            Expectation("expect_column_most_common_value_to_be_in_set", {"column": name, "value_set": [2]}),
            Expectation("expect_column_distinct_values_to_equal_set", {"column": name, "value_set": [1, 2, 3]}),
        )
        found = [one.violations for one in ran(engine, *checks, rows=rows).outcomes]
        assert found == [2, 2, 0, 2, 0, 0, 0, 0]
        assert all(one.verdict != "unknown" for one in ran(engine, *checks, rows=rows).outcomes)
        assert broken_rows(rows, checks[0], engine=engine, keys=(name,)) == (BrokenRow(key=(2,)),) * 2


def test_texts_of_rows_are_not_among_what_was_measured(engine: Listening) -> None:
    arguments = {"column": "name", "min_value": "x"}
    outcome = only(engine, Expectation("expect_column_min_to_be_between", arguments))
    assert (outcome.verdict, outcome.observed) == ("broken", None)


def test_memory_is_that_of_the_engine_however_many_rows_there_are(tmp_path: Path) -> None:
    table = find("tables", "delta")(CatalogSettings("delta", f"file://{tmp_path}/lake")).table("big.rows")
    schema = Schema.of(Column("n", "long"), Column("t", "string"))
    table.create(TableSpec(schema))
    numbers = pa.array(range(1_000_000), pa.int64())
    batch = pa.record_batch([numbers, numbers.cast(pa.string())], schema=schema.to_arrow())
    rows = pa.RecordBatchReader.from_batches(schema.to_arrow(), [batch] * 3)
    table.commit(Change(rows=rows), token=WriteToken("test", 1))
    small = DuckDBEngine(EngineSettings(memory_limit_bytes=96 * 1024 * 1024, threads=2, spill_directory=str(tmp_path)))
    compound = Expectation("expect_compound_columns_to_be_unique", {"column_list": ["n", "t"]})
    median = {"column": "n", "min_value": 499_999.5, "max_value": 499_999.5}
    checks = [compound, Expectation("expect_column_median_to_be_between", median)]
    found = run_checks(table, checks, engine=small, table="big.rows", version=1).outcomes
    assert [(one.verdict, one.violations) for one in found] == [("broken", 3_000_000), ("passed", 0)]


def test_broken_rows_are_shown_on_request_by_key(engine: Listening) -> None:
    assert broken_rows(ROWS, PRESENT, engine=engine, keys=("at",)) == (
        BrokenRow(key=(dt.datetime(2026, 3, 1, 3, tzinfo=dt.UTC),)),
    )
    assert broken_rows(ROWS, UNIQUE, engine=engine, keys=("id", "name")) == (
        BrokenRow(key=(2, "bb")),
        BrokenRow(key=(2, None)),
    )
    assert len(broken_rows(ROWS, UNIQUE, engine=engine, keys=("id",), limit=1)) == 1


def test_broken_rows_are_shown_by_their_place_in_a_file(engine: Listening, tmp_path: Path) -> None:
    table = find("tables", "delta")(CatalogSettings("delta", f"file://{tmp_path}/lake")).table("sales.orders")
    table.create(TableSpec(SCHEMA))
    table.commit(Change(rows=ROWS.to_reader()), token=WriteToken("test", 1))
    (row,) = broken_rows(table, PRESENT, engine=engine)
    assert row.file.endswith(".parquet")
    assert (row.position, row.key) == (2, ())


def test_rows_that_cannot_be_shown_are_refused(engine: Listening) -> None:
    mean = Expectation("expect_column_mean_to_be_between", {"column": "id", "min_value": 1})
    with pytest.raises(InvalidRequestError, match="not about rows"):
        broken_rows(ROWS, mean, engine=engine, keys=("id",))
    with pytest.raises(UnsupportedError, match="no addresses"):
        broken_rows(ROWS, PRESENT, engine=engine)
    with pytest.raises(InvalidRequestError, match="limit"):
        broken_rows(ROWS, PRESENT, engine=engine, keys=("id",), limit=0)


@pytest.mark.parametrize("backend", ["memory", "iceberg", "delta"])
def test_another_table_that_is_not_there_leaves_only_the_checks_unknown_that_name_it(
    engine: Listening, backend: str, tmp_path: Path
) -> None:
    other = find("tables", backend)(CatalogSettings(backend, f"file://{tmp_path}")).table("silver.absent")
    checks = [
        Expectation("expect_column_values_to_exist_in_other_table", {"column": "id", "other_table": "silver.absent"}),
        Expectation("expect_column_values_to_not_be_null", {"column": "id"}),
    ]
    rows = pa.table({"id": [1, 2]})
    result = run_checks(rows, checks, engine=engine, table="t", version=1, tables={"silver.absent": TableView(other)})
    assert [one.verdict for one in result.outcomes] == ["unknown", "passed"]
    assert "silver.absent" in result.outcomes[0].error

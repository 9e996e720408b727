"""Retail from landing files to gold: a year of a real grocery chain, published only when it is checked.

A run takes the days of its configuration (`since`, `until`), or the one day of its partition. Files land as an upstream would
deliver them, in three formats, some twice and one broken. Bronze keeps every line once, with where it came from. Silver is typed
and conformed, products and households with their history. Gold is what people ask for: stores, departments, households, baskets.
Refused rows are in `quarantine.rows`, with the reason.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG, CronPartitionTimetable, Param, task

from airflow_provider_lakehouse.core.quality.checks import RowCheck, TableCheck
from airflow_provider_lakehouse.samples.retail_contract import COLUMNS
from airflow_provider_lakehouse.task_groups.medallion import DerivedTable, LandedTable, medallion

LANDING = os.environ.get("LAKEHOUSE_RETAIL_LANDING", "/tmp/lakehouse/landing")  # noqa: S108
SQL = Path(__file__).parent / "sql" / "retail"

MONEY = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
FACTS = ("silver.sales",)


def landed(name: str, *required: str) -> LandedTable:
    """Return the bronze table of one kind of file."""
    return LandedTable(f"bronze.{name}", f"{LANDING}/{name}/*", columns=COLUMNS[name], required=required)


def sql(name: str) -> str:
    """Return the SQL that fills a table."""
    return (SQL / f"{name}.sql").read_text()


def unique(*keys: str) -> TableCheck:
    """Return a check that a key stands once."""
    names = ", ".join(keys)
    return TableCheck(f"{names} is unique", f"SELECT {names} FROM checked GROUP BY ALL HAVING count(*) > 1")


def history(name: str, key: str) -> DerivedTable:
    """Return a silver table that keeps every state of a thing."""
    overlap = (
        f"SELECT {key} FROM checked GROUP BY {key} HAVING count(*) FILTER (is_current) > 1 "
        "OR count(*) <> count(DISTINCT valid_from)"
    )
    return DerivedTable(
        f"silver.{name}",
        sql(f"silver_{name}"),
        reads=(f"bronze.{name}",),
        follows=f"bronze.{name}",
        mode={"mode": "scd2", "keys": [key], "effective_at": "extract_date", "delete_when": "source.gone"},
        checks=(TableCheck("at most one current state", overlap),),
    )


def mart(name: str, *keys: str, reads: tuple[str, ...] = FACTS) -> DerivedTable:
    """Return a gold table, corrected for the days on which something came."""
    return DerivedTable(
        f"gold.{name}",
        sql(f"gold_{name}"),
        reads=reads,
        follows="bronze.transactions",
        mode={"mode": "merge", "keys": list(keys)},
        checks=(unique(*keys), RowCheck("money is there", "sales_value IS NOT NULL AND lines > 0")),
    )


SILVER = (
    DerivedTable(
        "silver.transactions",
        sql("silver_transactions"),
        reads=("bronze.transactions",),
        follows="bronze.transactions",
        mode={"mode": "merge", "keys": ["basket_id", "product_id"]},
        row_checks=(
            RowCheck("quantity is not negative", "quantity >= 0", "quarantine"),
            RowCheck("product_id is positive", "product_id > 0", "quarantine"),
            RowCheck("basket_id is there", "basket_id IS NOT NULL", "quarantine"),
            RowCheck("money is not negative", " AND ".join(f"{name} >= 0" for name in MONEY), "quarantine"),
        ),
        checks=(unique("basket_id", "product_id"), RowCheck("business date is there", "business_date IS NOT NULL")),
    ),
    history("products", "product_id"),
    history("households", "household_id"),
    DerivedTable(
        "silver.coupons",
        sql("silver_coupons"),
        reads=("bronze.coupons",),
        follows="bronze.coupons",
        mode={"mode": "merge", "keys": ["coupon_upc", "product_id", "campaign_id"]},
        checks=(unique("coupon_upc", "product_id", "campaign_id"),),
    ),
)
SALES = (
    DerivedTable(
        "silver.sales",
        sql("silver_sales"),
        reads=("silver.transactions", "silver.products"),
        follows="bronze.transactions",
        mode={"mode": "merge", "keys": ["basket_id", "product_id"]},
        checks=(RowCheck("department is there", "department IS NOT NULL"),),
    ),
)
GOLD = (
    mart("store_daily", "business_date", "store_id"),
    mart("department_daily", "business_date", "department"),
    mart("household_daily", "business_date", "household_id", reads=(*FACTS, "silver.households")),
    mart("baskets", "basket_id"),
)

with DAG(
    "medallion_retail",
    description="Retail files to bronze, silver and gold, staged, checked and published",
    schedule=CronPartitionTimetable("0 6 * * *", timezone="America/New_York", key_format="%Y-%m-%d"),
    start_date=datetime(2017, 1, 1, tzinfo=UTC),
    end_date=datetime(2018, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "since": Param("", type="string", description="First day, YYYY-MM-DD; empty for the day of the partition"),
        "until": Param("", type="string", description="Day after the last one; empty for the day after `since`"),
        "bad_file": Param(False, type="boolean", description="Whether the broken delivery of 8 February lands too"),
    },
    doc_md=__doc__,
    tags=["lakehouse", "reference"],
):

    @task
    def land(partition_key: str | None = None, params: dict[str, object] | None = None) -> int:
        """Let the upstream deliver the days of this run; return how many files it delivered."""
        from datetime import date, timedelta

        from airflow_provider_lakehouse.samples import retail

        given = params or {}
        since = date.fromisoformat(str(given.get("since") or partition_key))
        until = date.fromisoformat(str(given["until"])) if given.get("until") else since + timedelta(days=1)
        files = retail.land(Path(LANDING), since=since, until=until, bad_file=bool(given.get("bad_file")))
        return len(files)

    layers = {"silver": SILVER, "sales": SALES, "gold": GOLD}
    land() >> medallion(
        group_id="retail",
        bronze=(
            landed("transactions", "household_id", "store_id", "product_id"),
            landed("products", "product_id"),
            landed("households", "household_id"),
            landed("coupons", "coupon_upc"),
        ),
        layers=layers,
    )

"""Retail from landing files to gold: a year of a real grocery chain, published only when it is checked.

A run takes the days of its configuration (`since`, `until`), or the one day of its partition. Files land as an upstream would
deliver them, in three formats, some twice and one broken. Bronze keeps every line once, with where it came from. Silver is typed
and conformed, products and households with their history. Gold is what people ask for: stores, departments, households, baskets.
Every table keeps a contract (`contracts/retail`): it says what columns there are, which rows are set aside in `quarantine.rows`,
and what is checked before it is published. What checks found is in `quality.results`. A table that breaks its contract opens
its circuit breaker, and is loaded no further until somebody has looked.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG, CronPartitionTimetable, Param, task

from airflow_provider_lakehouse.task_groups.medallion import DerivedTable, LandedTable, medallion

LANDING = os.environ.get("LAKEHOUSE_RETAIL_LANDING", "/tmp/lakehouse/landing")  # noqa: S108
SQL = Path(__file__).parent / "sql" / "retail"
CONTRACTS = Path(__file__).parent / "contracts" / "retail"
FACTS = ("silver.sales",)
BREAKER = {"severities": ["fail"], "consecutive_failures": 5}


def contract(layer: str) -> str:
    """Return the file that says what the tables of a layer promise."""
    return str(CONTRACTS / f"{layer}.odcs.yaml")


def landed(name: str) -> LandedTable:
    """Return the bronze table of one kind of file."""
    return LandedTable(f"bronze.{name}", f"{LANDING}/{name}/*", contract=contract("bronze"))


def derived(table: str, mode: dict[str, object], *, reads: tuple[str, ...], follows: str) -> DerivedTable:
    """Return a table that a query makes of others, and that keeps the contract of its layer."""
    layer, name = table.split(".")
    sql = (SQL / f"{layer}_{name}.sql").read_text()
    return DerivedTable(table, sql, reads, f"bronze.{follows}", mode, contract=contract(layer))


def merged(table: str, *keys: str, reads: tuple[str, ...] = FACTS, follows: str = "transactions") -> DerivedTable:
    """Return a table whose rows are corrected by their key."""
    return derived(table, {"mode": "merge", "keys": list(keys)}, reads=reads, follows=follows)


def history(name: str, key: str) -> DerivedTable:
    """Return a silver table that keeps every state of a thing."""
    mode = {"mode": "scd2", "keys": [key], "effective_at": "extract_date", "delete_when": "source.gone"}
    return derived(f"silver.{name}", mode, reads=(f"bronze.{name}",), follows=name)


SILVER = (
    merged("silver.transactions", "basket_id", "product_id", reads=("bronze.transactions",)),
    history("products", "product_id"),
    history("households", "household_id"),
    merged("silver.coupons", "coupon_upc", "product_id", "campaign_id", reads=("bronze.coupons",), follows="coupons"),
)
SALES = (merged("silver.sales", "basket_id", "product_id", reads=("silver.transactions", "silver.products")),)
GOLD = (
    merged("gold.store_daily", "business_date", "store_id"),
    merged("gold.department_daily", "business_date", "department"),
    merged("gold.household_daily", "business_date", "household_id", reads=(*FACTS, "silver.households")),
    merged("gold.baskets", "basket_id"),
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
        bronze=tuple(landed(name) for name in ("transactions", "products", "households", "coupons")),
        layers=layers,
        breaker=BREAKER,
    )

"""What the retail sample promises: the contract of its files, its simulated revisions, late files and broken lines.

Only values; `airflow_provider_lakehouse.samples.retail` lands the files that keep these promises.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

FIRST_DAY: Final = date(2017, 1, 1)
END: Final = date(2018, 1, 1)
STORE_TIME_ZONE: Final = "America/New_York"
EXTRACT_DAYS: Final = (date(2017, 1, 1), date(2017, 4, 1), date(2017, 7, 1), date(2017, 10, 1))
BROKEN_DAY: Final = date(2017, 2, 8)
SOUND_LINES_IN_BROKEN: Final = 3

COLUMNS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType({
    "transactions": {
        "household_id": "long", "store_id": "long", "basket_id": "long", "product_id": "long", "quantity": "long",
        "sales_value": "decimal(10,2)", "retail_disc": "decimal(10,2)", "coupon_disc": "decimal(10,2)",
        "coupon_match_disc": "decimal(10,2)", "week": "int", "transaction_timestamp": "timestamptz",
    },
    "products": {
        "product_id": "long", "manufacturer_id": "long", "department": "string", "brand": "string",
        "product_category": "string", "product_type": "string", "package_size": "string", "extract_date": "date",
    },
    "households": {
        "household_id": "long", "age": "string", "income": "string", "home_ownership": "string",
        "marital_status": "string", "household_size": "string", "household_comp": "string", "kids_count": "string",
        "extract_date": "date",
    },
    "coupons": {"coupon_upc": "long", "product_id": "long", "campaign_id": "long", "extract_date": "date"},
})  # fmt: skip
"""The contract of each kind of file: names and types, in order. JSON lines and CSV spell decimals and times as text."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A change that the source does not have, made up so that a later extract differs from an earlier one.

    Args:
        extract: `products` or `households`.
        since: First extract that shows it; every later one does too.
        action: `change` gives `column` another value, `appear` shows rows from `since` on, `vanish` until then.
        where: Rows it concerns, as a condition in SQL. The table `unsold` holds the products nobody bought in 2017.
        column: Column that a `change` sets.
        value: What it sets, as an expression in SQL.
    """

    extract: Literal["products", "households"]
    since: date
    action: Literal["change", "appear", "vanish"]
    where: str
    column: str = ""
    value: str = ""


_INCOMES = (
    "['Under 15K', '15-24K', '25-34K', '35-49K', '50-74K', '75-99K', '100-124K', '125-149K', '150-174K', '175-199K', "
    "'200-249K', '250K+']"
)
_NO_HOME = "home_ownership IS NULL"
_NEXT_INCOME = f"{_INCOMES}[least(list_position({_INCOMES}, income) + 1, 12)]"
_UNSOLD = "product_id IN (SELECT product_id FROM unsold)"
_SPRING, _SUMMER, _AUTUMN = EXTRACT_DAYS[1:]

REVISIONS: Final = (
    Revision("products", _SPRING, "change", "brand = 'National' AND product_id % 50 = 7", "brand", "'Private'"),
    Revision("products", _SPRING, "appear", f"product_id % 200 = 1 AND {_UNSOLD}"),
    Revision("products", _SUMMER, "change", "department = 'PASTRY'", "department", "'BAKERY'"),
    Revision("products", _AUTUMN, "change", "package_size IS NULL AND product_id % 20 = 11", "package_size", "'1 EA'"),
    Revision("products", _AUTUMN, "vanish", f"product_id % 200 = 0 AND {_UNSOLD}"),
    Revision("households", _SPRING, "change", "household_id % 20 = 1", "income", _NEXT_INCOME),
    Revision("households", _SUMMER, "change", "household_id % 25 = 2", "marital_status", "'Married'"),
    Revision("households", _SUMMER, "appear", "household_id % 100 = 99"),
    Revision("households", _AUTUMN, "change", f"{_NO_HOME} AND household_id % 10 = 3", "home_ownership", "'Renter'"),
    Revision("households", _AUTUMN, "vanish", "household_id % 100 = 50"),
)
"""The simulated revisions. All are made up; none is in the source."""


@dataclass(frozen=True, slots=True)
class Redelivery:
    """A late file that repeats lines unchanged: those of every basket of an earlier day whose number ends in 3.

    Args:
        day: Day in the name of the late file.
        repeats: Business day of the repeated lines.
    """

    day: date
    repeats: date


REDELIVERIES: Final = (
    Redelivery(date(2017, 2, 14), repeats=date(2017, 2, 12)),
    Redelivery(date(2017, 5, 9), repeats=date(2017, 5, 7)),
    Redelivery(date(2017, 8, 23), repeats=date(2017, 8, 21)),
    Redelivery(date(2017, 11, 15), repeats=date(2017, 11, 13)),
)
"""One late file in each quarter; it lands only together with the day that it repeats."""


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A line of the broken delivery that breaks the contract.

    Args:
        breaks: The rule it breaks.
        text: The line as it stands in the CSV file.
    """

    breaks: str
    text: str


BROKEN_LINES: Final = (
    BrokenLine("quantity is not negative", "1,330,90000000001,1095275,-2,3.98,0.00,0.00,0.00,7,2017-02-08T15:00:00Z"),
    BrokenLine("product_id is positive", "1,330,90000000002,0,1,1.99,0.00,0.00,0.00,7,2017-02-08T15:01:00Z"),
    BrokenLine("sales_value is a number", "1,330,90000000003,1095275,1,twelve,0.00,0.00,0.00,7,2017-02-08T15:02:00Z"),
    BrokenLine("sales_value is in whole cents", "1,330,90000000004,1095275,1,1.005,0,0,0,7,2017-02-08T15:03:00Z"),
    BrokenLine("basket_id is there", "1,330,,1095275,1,0.50,0.00,0.00,0.00,7,2017-02-08T15:04:00Z"),
    BrokenLine("transaction_timestamp is a time", "1,330,90000000006,1095275,1,0.50,0,0,0,7,2017-02-30T15:05:00Z"),
    BrokenLine("the line is complete", "1,330,900000000"),
)
"""The lines of the broken delivery after the sound ones, in order; the last one ends without a line break.

The sound ones repeat the first lines of the same day, so the totals are true whether a gate refuses the file or lines.
"""

"""Checks of single rows as SQL: true for the rows that break them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.quality.checks import RowCheck


def violation_sql(check: RowCheck) -> str:
    """Return SQL over the columns of a row that is true where it breaks the check, and false otherwise.

    Example:
        >>> from airflow_provider_lakehouse.core.quality.checks import RowCheck
        >>> violation_sql(RowCheck("amount is positive", "amount > 0"))
        '(amount > 0) IS NOT TRUE'
    """
    return f"({check.condition}) IS NOT TRUE"

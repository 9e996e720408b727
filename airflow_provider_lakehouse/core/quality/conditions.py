"""Checks of single rows as SQL: true for the rows that break them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.quality.checks import RowCheck
    from airflow_provider_lakehouse.core.schema import Schema


def violation_sql(check: RowCheck, schema: Schema) -> str:
    """Return SQL over the columns of a row that is true where it breaks the check, and false otherwise.

    Args:
        check: Of single rows.
        schema: Columns of the rows.

    Example:
        >>> from airflow_provider_lakehouse.core.quality.checks import RowCheck
        >>> from airflow_provider_lakehouse.core.schema import Column, Schema
        >>> violation_sql(RowCheck("amount is positive", "amount > 0"), Schema.of(Column("amount", "long")))
        '(amount > 0) IS NOT TRUE'
    """
    del schema  # a condition in SQL says itself what it means for every type
    return f"({check.condition}) IS NOT TRUE"

"""Results of the core as JSON, for XCom, asset events and logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID


def as_json(value: object) -> Any:  # noqa: ANN401
    """Return a frozen value as JSON: instants in ISO 8601, decimals and UUIDs as text, bytes in hexadecimal.

    Example:
        >>> from airflow_provider_lakehouse.core.quality.checks import Limit
        >>> as_json((Limit(rows=5),))
        [{'rows': 5, 'share': None}]
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    return value.hex() if isinstance(value, bytes) else value

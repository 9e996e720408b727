"""Read values that came through templates, where everything is text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import Limit

_NOTHING = (None, "", "None")


def number_or_none(value: object, *, name: str) -> int | None:
    """Return a whole number, None for nothing.

    Raises:
        InvalidRequestError: It is something else.

    Example:
        >>> number_or_none("7", name="version"), number_or_none("None", name="version")
        (7, None)
    """
    if value in _NOTHING:
        return None
    try:
        return int(str(value))
    except ValueError as error:
        raise InvalidRequestError(
            f"{name!r} is no whole number after rendering. Correct it.", given=str(value)
        ) from error


def instant_or_none(value: object, *, name: str) -> datetime | None:
    """Return an instant with its time zone, None for nothing.

    Raises:
        InvalidRequestError: It is something else, or has no time zone.
    """
    if value in _NOTHING:
        return None
    try:
        instant = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise InvalidRequestError(f"{name!r} is no instant in ISO 8601. Correct it.", given=str(value)) from error
    if instant.tzinfo is None:
        raise InvalidRequestError(f"{name!r} has no time zone. Add one, such as +00:00.", given=str(value))
    return instant


def limit_or_none(value: object, *, name: str) -> Limit | None:
    """Return a limit of rows, None for nothing.

    Args:
        value: A mapping with `rows`, `share` from 0 to 1, or both.
        name: Of the argument, for the error.

    Raises:
        InvalidRequestError: It is something else.

    Example:
        >>> limit_or_none({"rows": "5", "share": 0.01}, name="reject_limit")
        Limit(rows=5, share=0.01)
    """
    if isinstance(value, Limit):
        return value
    if value in _NOTHING:
        return None
    if not isinstance(value, Mapping) or not value or set(value) - {"rows", "share"}:
        raise InvalidRequestError(f"{name!r} is no mapping with 'rows', 'share' or both. Correct it.")
    share = value.get("share")
    try:
        known = None if share in _NOTHING else float(str(share))
    except ValueError as error:
        raise InvalidRequestError(f"The share of {name!r} is no number after rendering. Correct it.") from error
    return Limit(number_or_none(value.get("rows"), name=f"{name}.rows"), known)

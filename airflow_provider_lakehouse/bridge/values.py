"""Read values that came through templates, where everything is text."""

from __future__ import annotations

from datetime import datetime

from airflow_provider_lakehouse.core.errors import InvalidRequestError

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

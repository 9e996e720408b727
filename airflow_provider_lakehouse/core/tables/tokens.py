"""How a table remembers write tokens where its format has properties of text."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import DamagedError
from airflow_provider_lakehouse.core.tables.base import CommitResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_lakehouse.core.tables.base import WriteToken

TOKEN_PREFIX: Final = "lakehouse.token."
"""Properties that start with it are the provider's own; the rest of the name is `WriteToken.key`."""
_COUNTS: Final = ("rows_added", "rows_removed", "files_added", "files_removed", "bytes_added")


def encode_result(result: CommitResult) -> str:
    """Return the text under which a table remembers a write.

    Example:
        >>> from datetime import datetime, timezone
        >>> from airflow_provider_lakehouse.core.tables.base import WriteToken
        >>> at = datetime(2026, 1, 1, tzinfo=timezone.utc)
        >>> result = CommitResult(WriteToken("p", 3), version=9, committed_at=at, rows_added=5)
        >>> decode_result(encode_result(result), WriteToken("p", 2)).replayed
        True
    """
    value: dict[str, Any] = {
        "pipeline": result.token.pipeline,
        "batch": result.token.batch,
        "version": result.version,
        "at": result.committed_at.isoformat(),
    }
    return json.dumps(value | {name: getattr(result, name) for name in _COUNTS}, separators=(",", ":"))


def decode_result(text: str, token: WriteToken) -> CommitResult | None:
    """Read what a table remembers, for one token.

    Returns:
        The first write's result, marked as replayed. None when the table remembers a lower batch of an ordered pipeline. The
        counts of a batch that a higher one has replaced are None.

    Raises:
        DamagedError: The property holds something else.
    """
    try:
        value = json.loads(text)
        batch = value["batch"]
        if token.is_ordered and batch < token.batch:
            return None
        counts = {name: value[name] if batch == token.batch else None for name in _COUNTS}
        at = datetime.fromisoformat(value["at"])
        return CommitResult(token, version=value["version"], committed_at=at, replayed=True, **counts)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            "The table's memory of a write token cannot be read. Look at its properties.", key=TOKEN_PREFIX + token.key
        ) from error


def without_tokens(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties that are not the provider's own memory of tokens."""
    return {name: value for name, value in properties.items() if not name.startswith(TOKEN_PREFIX)}

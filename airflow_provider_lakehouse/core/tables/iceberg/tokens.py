"""How an Iceberg table remembers write tokens: a property each, set in the commit of the write, for all branches."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.tables.base import NO_VERSION
from airflow_provider_lakehouse.core.tables.iceberg.scan import MAIN
from airflow_provider_lakehouse.core.tables.iceberg.updates import remove_properties, set_properties
from airflow_provider_lakehouse.core.tables.token_memory import condensed, past_result
from airflow_provider_lakehouse.core.tables.tokens import TOKEN_PREFIX, decode_result, encode_result

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.table.update import TableUpdate

    from airflow_provider_lakehouse.core.tables.base import CommitResult, WriteToken

_REPLACED: Final = "replaced"
"""What a table remembered under the same name before a batch was staged: it holds again when the branch is dropped."""


def remembered(metadata: TableMetadata, token: WriteToken) -> CommitResult | None:
    """Return what a token wrote; None when the table does not remember it.

    Raises:
        DamagedError: What the table remembers cannot be read.
    """
    text = metadata.properties.get(TOKEN_PREFIX + token.key)
    if text is not None:
        return decode_result(text, token)
    version = metadata.current_snapshot_id
    return past_result(metadata.properties, token, version=NO_VERSION if version is None else version)


def remember(metadata: TableMetadata, result: CommitResult, *, branch: str) -> list[TableUpdate]:
    """Return the updates that make a table remember a write, and less of older ones of the same pipeline.

    Args:
        metadata: The table's.
        result: Of the write.
        branch: The branch it goes to.
    """
    name, text = TOKEN_PREFIX + result.token.key, encode_result(result)
    if branch != MAIN and (before := metadata.properties.get(name)) is not None:
        text = json.dumps({**json.loads(text), _REPLACED: before}, separators=(",", ":"))
    known = [part for part in metadata.refs if part != MAIN]
    spared = frozenset[int]().union(*(_versions_of(metadata, part) for part in known))
    changes = {name: text, **condensed(metadata.properties, result.token, at=result.committed_at, spared=spared)}
    gone = [old for old, value in changes.items() if value is None]
    updates: list[TableUpdate] = [set_properties({n: value for n, value in changes.items() if value is not None})]
    return [*updates, remove_properties(gone)] if gone else updates


def forget(metadata: TableMetadata, branch: str) -> list[TableUpdate]:
    """Return the updates that make a table forget what was written to one branch and to no other."""
    own = _versions_of(metadata, branch)
    kept: dict[str, str] = {}
    gone: list[str] = []
    for name, text in metadata.properties.items():
        if name.startswith(TOKEN_PREFIX) and _version(text) in own:
            earlier = _earlier(text, own)
            gone += [name] if earlier is None else []
            kept |= {} if earlier is None else {name: earlier}
    updates: list[TableUpdate] = [set_properties(kept)] if kept else []
    return [*updates, remove_properties(gone)] if gone else updates


def lineage(metadata: TableMetadata, snapshot: Snapshot | None) -> Iterator[Snapshot]:
    """Yield a snapshot and those before it, as far as they have not expired."""
    while snapshot is not None:
        yield snapshot
        parent = snapshot.parent_snapshot_id
        snapshot = metadata.snapshot_by_id(parent) if parent is not None else None


def _versions_of(metadata: TableMetadata, branch: str) -> frozenset[int]:
    lines = {
        name: {snapshot.snapshot_id for snapshot in lineage(metadata, metadata.snapshot_by_id(ref.snapshot_id))}
        for name, ref in metadata.refs.items()
    }
    own = lines.pop(branch, set())
    return frozenset(own.difference(*lines.values()))


def _earlier(text: str, own: frozenset[int]) -> str | None:
    """Return the newest memory before the writes to a branch."""
    before: str | None = text
    while before is not None and _version(before) in own:
        before = json.loads(before).get(_REPLACED)
    return before


def _version(text: str) -> int | None:
    try:
        version = json.loads(text).get("version")
    except (ValueError, AttributeError):
        return None
    return version if isinstance(version, int) else None

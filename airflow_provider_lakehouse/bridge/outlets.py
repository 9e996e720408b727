"""Assets of a task: declared when the DAG is parsed, checked against what it writes, told what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.bridge.identity import is_table_uri, table_uri
from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_lakehouse.core.tables.base import TableIdentity


def check_outlets(outlets: Iterable[Any], *, writes: Mapping[str, TableIdentity], catalog: str) -> None:
    """Refuse to write what the DAG does not declare.

    Args:
        outlets: Of the task. Those that are no lakehouse tables are not looked at.
        writes: What the task will write, by name; the first is the target.
        catalog: Name of the catalog, as the connection calls it.

    Raises:
        InvalidRequestError: An outlet is a lakehouse table that the task does not write, or the target is not among
            them. Nothing was written.
    """
    declared = {str(outlet.uri) for outlet in outlets if is_table_uri(str(getattr(outlet, "uri", "")))}
    uris = [asset_uri(identity, catalog=catalog) for identity in writes.values()]
    unexpected = tuple(sorted(declared - set(uris)))
    if declared and (unexpected or uris[0] not in declared):
        raise InvalidRequestError(
            f"The task writes {uris[0]!r}, and declares other outlets. Declare what it writes, or correct it.",
            writes=tuple(uris),
            declares=tuple(sorted(declared)),
        )


def announce(context: Mapping[str, Any], outlets: Iterable[Any], *, uri: str, facts: Mapping[str, Any]) -> None:
    """Put facts on the event of the outlet that has a URI.

    Args:
        context: Airflow's. The event is recorded only when the task succeeds.
        outlets: Of the task.
        uri: Of the table that was written.
        facts: JSON: version, branch, row counts. None is left out.
    """
    events = context.get("outlet_events")
    for outlet in outlets:
        if events is not None and str(getattr(outlet, "uri", "")) == uri:
            known = {name: value for name, value in facts.items() if value is not None}
            events[outlet].extra = {**events[outlet].extra, **known}


def asset_uri(identity: TableIdentity, *, catalog: str) -> str:
    """Return the URI of a table's asset."""
    return table_uri(identity.name, format=identity.format, catalog=catalog)

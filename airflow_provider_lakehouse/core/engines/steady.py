"""Views that stay what they are while others write, so that every look at one sees the same rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.tables.base import At

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.engines.base import TableView
    from airflow_provider_lakehouse.core.tables.base import TableFacts


def steady(view: TableView) -> tuple[TableView, TableFacts]:
    """Return a view of the version that is the newest now, and what is known of it.

    Where columns were changed without a commit of rows, the newest version has other columns than the table, and the view
    is returned as it came: what it shows may move. So is that of a table that no commit has given rows yet.
    """
    facts = view.table.facts(at=view.at)
    at = At(version=facts.version)
    if view.at.version is None and facts.version >= 0 and view.table.facts(at=at).schema == facts.schema:
        return replace(view, at=at), facts
    return view, facts

"""Read specifications of tables as a DAG writes them: words and mappings, so that they can be templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.schema import Column, Schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_lakehouse.core.tables.spec import SpecPlan


def read_schema(
    columns: Mapping[str, str],
    *,
    required: Sequence[str] = (),
    identifier: Sequence[str] = (),
    comments: Mapping[str, str] | None = None,
) -> Schema:
    """Return the schema that columns describe.

    Args:
        columns: Type by name, in order.
        required: Names of columns that are never null.
        identifier: Names of columns that identify a row; they are never null.
        comments: By name.

    Raises:
        InvalidRequestError: A type is none, or a name is not among the columns.

    Example:
        >>> [c.nullable for c in read_schema({"id": "long", "name": "string"}, identifier=("id",)).columns]
        [False, True]
    """
    named = {*required, *identifier, *(comments or {})}
    unknown = tuple(sorted(named - set(columns)))
    if unknown:
        raise InvalidRequestError(
            "Columns are required, identify rows or are commented on, but not declared. Declare them.", columns=unknown
        )
    never_null = {*required, *identifier}
    return Schema.of(
        *(
            Column(n, kind, nullable=n not in never_null, comment=(comments or {}).get(n, ""))
            for n, kind in columns.items()
        ),
        identifier=identifier,
    )


def described_plan(plan: SpecPlan) -> dict[str, Any]:
    """Return a plan of changes for people: one line for each."""
    changes = [f"{change.kind} {change.column.name}: {change.column.type}" for change in plan.schema.changes]
    changes += [f"{'remove' if v is None else 'set'} property {k}" for k, v in plan.properties.items()]
    changes += ["set the comment"] if plan.comment is not None else []
    return {"base": plan.base, "changes": changes, "refused": list(plan.refused)}

"""Find backends by name: ours by dotted path, others' by entry point."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, Final

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError

_PACKAGE: Final = "airflow_provider_lakehouse"
BUILT_IN: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "tables": {
        "memory": (f"{_PACKAGE}.core.tables.memory.table:open_catalog", ""),
        "iceberg": (f"{_PACKAGE}.core.tables.iceberg.table:open_catalog", "iceberg"),
        "delta": (f"{_PACKAGE}.core.tables.delta.table:open_catalog", "delta"),
    },
    "engines": {"duckdb": (f"{_PACKAGE}.core.engines.duckdb:open_engine", "duckdb")},
    "sources": {
        "files": (f"{_PACKAGE}.core.sources.files.source:open_source", ""),
        "postgres": (f"{_PACKAGE}.core.sources.postgres.source:open_source", "postgres"),
        "dbapi": (f"{_PACKAGE}.core.sources.dbapi.source:open_source", ""),
    },
}
"""By kind and name: where the factory is, and the extra that installs what it needs."""
NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "iceberg": ("pyiceberg", "pyiceberg_core"),
    "delta": ("deltalake", "obstore"),
    "duckdb": ("duckdb",),
    "postgres": ("psycopg",),
    "contracts": ("jsonschema", "open_data_contract_standard", "yaml"),
    "great-expectations": ("great_expectations",),
}
"""By extra: the modules that have to be there. A backend imports them when it is used, which would be late to say so."""


def find(kind: str, name: str) -> Any:  # noqa: ANN401
    """Return the factory of a backend.

    Args:
        kind: `tables`, `engines` or `sources`.
        name: Built in, or an entry point of the group `airflow_provider_lakehouse.<kind>`.

    Raises:
        InvalidRequestError: Nobody registered the name; the error lists the names there are.
        UnsupportedError: What the backend needs is not installed; the error names the extra.

    Example:
        >>> find("tables", "parquet")
        Traceback (most recent call last):
        ...
        airflow_provider_lakehouse.core.errors.InvalidRequestError: Nothing among tables is called 'parquet'. \
Use one of: delta, iceberg, memory. [kind='tables' name='parquet']
    """
    if name in BUILT_IN[kind]:
        path, extra = BUILT_IN[kind][name]
        return _load(path, kind=kind, name=name, extra=extra)
    others = entry_points(group=f"{_PACKAGE}.{kind}")
    if name in others.names:
        return others[name].load()
    known = ", ".join(sorted({*BUILT_IN[kind], *others.names}))
    raise InvalidRequestError(f"Nothing among {kind} is called {name!r}. Use one of: {known}.", kind=kind, name=name)


def is_registered(kind: str, name: str) -> bool:
    """Tell whether somebody registered the name: we, or an entry point."""
    return name in BUILT_IN[kind] or name in entry_points(group=f"{_PACKAGE}.{kind}").names


def require_extra(extra: str, *, purpose: str) -> None:
    """Refuse where the libraries of an extra are not installed.

    Args:
        extra: One of the package; one without needs is always there.
        purpose: What it is needed for, as the end of a sentence: `for 'delta' of tables`.

    Raises:
        UnsupportedError: A library is not there; the error names the extra.
    """
    missing = next((module for module in NEEDS.get(extra, ()) if find_spec(module) is None), None)
    if missing is not None:
        raise UnsupportedError(
            f"What is needed {purpose} is not installed. Install 'airflow-provider-lakehouse[{extra}]'.", module=missing
        )


def _load(path: str, *, kind: str, name: str, extra: str) -> Any:  # noqa: ANN401
    require_extra(extra, purpose=f"for {name!r} of {kind}")
    module, _, attribute = path.partition(":")
    return getattr(import_module(module), attribute)

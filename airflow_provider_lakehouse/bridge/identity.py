"""The identity of a table as a URI: `iceberg://<catalog>/<namespace>/<table>` or `delta://...`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote, urlsplit

from airflow_provider_lakehouse.core.errors import InvalidRequestError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

SCHEMES: Final = ("iceberg", "delta")
"""Formats whose tables Airflow knows as assets of their own; see `get_provider_info`."""
_TEMPLATE_MARKS: Final = ("{{", "{%", "{#")
_PARTS: Final = 2


def is_template(text: str) -> bool:
    """Tell whether a text holds Jinja."""
    return any(mark in text for mark in _TEMPLATE_MARKS)


def table_uri(table: str, *, format: str, catalog: str = "default") -> str:  # noqa: A002
    """Return the URI of a table.

    Raises:
        InvalidRequestError: A part is a template or empty, or the name is not `namespace.table`.

    Example:
        >>> table_uri("sales.orders", format="iceberg")
        'iceberg://default/sales/orders'
    """
    if is_template(table) or is_template(catalog):
        raise InvalidRequestError(
            "An asset cannot be a template: its identity is needed before anything is rendered. Write the name.",
            table=table,
            catalog=catalog,
        )
    namespace, _, name = table.rpartition(".")
    if not all(namespace.split(".")) or not name or not catalog or not format:
        raise InvalidRequestError(
            f"{table!r} of catalog {catalog!r} is no table. Write 'namespace.table', and name the catalog.",
            table=table,
            catalog=catalog,
        )
    return f"{format}://{quote(catalog, safe='')}/{quote(namespace, safe='')}/{quote(name, safe='')}"


def is_table_uri(uri: str) -> bool:
    """Tell whether a URI is one of a lakehouse table."""
    return uri.partition("://")[0] in SCHEMES


def check_uri(uri: SplitResult) -> SplitResult:
    """Return the URI in its one spelling.

    Raises:
        ValueError: It does not name a catalog, a namespace and a table, or says more. Airflow shows it as an import
            error.
    """
    whole = uri.geturl()
    if is_template(unquote(whole)):
        raise ValueError(f"{whole!r} is a template: an asset's identity is needed before anything is rendered.")
    parts = [unquote(part) for part in uri.path.split("/")[1:]]
    if uri.query or uri.fragment or "@" in uri.netloc or not uri.netloc:
        raise ValueError(f"{whole!r} is no table: write {uri.scheme}://catalog/namespace/table and nothing else.")
    if len(parts) != _PARTS or not parts[1] or not all(parts[0].split(".")):
        raise ValueError(f"{whole!r} is no table: write {uri.scheme}://catalog/namespace/table.")
    return urlsplit(table_uri(".".join(parts), format=uri.scheme, catalog=unquote(uri.netloc)))

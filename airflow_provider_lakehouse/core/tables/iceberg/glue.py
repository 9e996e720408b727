"""What AWS Glue needs besides what PyIceberg gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_lakehouse.core.tables.tokens import without_tokens

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog as IcebergCatalog


def keep_tokens_out(catalog: IcebergCatalog) -> None:
    """Keep tokens out of the copy of a table's properties that Glue gets; other catalogs are left as they are.

    A table remembers a token for every batch that has no order. They belong into its metadata file, which has room for
    them; PyIceberg copies all properties into Glue's entry for the table too, never takes one away there, and Glue limits
    the size of an entry.
    """
    if (client := getattr(catalog, "glue", None)) is not None:
        client.meta.events.register("provide-client-params.glue.UpdateTable", _without_tokens)


def _without_tokens(params: dict[str, Any], **_: object) -> None:
    entry = params["TableInput"]
    entry["Parameters"] = without_tokens(entry["Parameters"])

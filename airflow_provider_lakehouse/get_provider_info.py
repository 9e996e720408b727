"""What Airflow is told about this provider. Imports nothing."""

from __future__ import annotations

from typing import Any

_PACKAGE = "airflow_provider_lakehouse"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata."""
    return {
        "package-name": "airflow-provider-lakehouse",
        "name": "Lakehouse",
        "description": "Load, check and publish Iceberg and Delta tables, exactly once.",
        "connection-types": [
            {
                "connection-type": "lakehouse",
                "hook-class-name": f"{_PACKAGE}.hooks.lakehouse.LakehouseHook",
                "hook-name": "Lakehouse",
            }
        ],
        "extra-links": [f"{_PACKAGE}.links.LakehouseTableLink"],
    }

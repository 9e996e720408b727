"""What Airflow is told about this provider. Imports nothing."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata."""
    return {
        "package-name": "airflow-provider-lakehouse",
        "name": "Lakehouse",
        "description": "Load, check and publish Iceberg and Delta tables, exactly once.",
    }

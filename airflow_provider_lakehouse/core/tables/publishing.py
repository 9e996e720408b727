"""What every backend asks of a branch before it is published."""

from __future__ import annotations

from airflow_provider_lakehouse.core.errors import ConflictError


def require_audited(branch: str, *, version: int, audited: int | None, table: str) -> None:
    """Refuse to publish a branch that moved since it was audited.

    Args:
        branch: Its name.
        version: The version it has.
        audited: The version that was audited; None takes any.
        table: Name of the table.

    Raises:
        ConflictError: It moved.
    """
    if audited is not None and version != audited:
        raise ConflictError(
            f"Branch {branch!r} moved since it was audited. Audit it again, then publish.",
            table=table,
            branch=branch,
            version=version,
            audited=audited,
        )

"""Ask a backend for an ability; the one place that says "cannot"."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from airflow_provider_lakehouse.core.errors import UnsupportedError

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")


def require[T](subject: object, ability: TypeForm[T], *, purpose: str = "") -> T:
    """Return `subject` typed as `ability`, or refuse by name.

    Args:
        subject: A table, an engine or a source.
        ability: A runtime-checkable Protocol with one verb, such as `Branching`.
        purpose: What the caller wants it for; completes the sentence of the error.

    Returns:
        The same object.

    Raises:
        UnsupportedError: The subject lacks the ability. Nothing was written.

    Example:
        >>> from airflow_provider_lakehouse.core.tables.abilities import Publishing
        >>> require(object(), Publishing, purpose="to publish a staged batch")
        Traceback (most recent call last):
        ...
        airflow_provider_lakehouse.core.errors.UnsupportedError: object is not able to do Publishing, needed to publish a \
staged batch. Choose a backend that is. [backend='object' ability='Publishing']
    """
    if isinstance(subject, cast("type", ability)):
        return cast("T", subject)
    name = getattr(ability, "__name__", str(ability))
    backend = type(subject).__name__
    needed = f", needed {purpose}" if purpose else ""
    raise UnsupportedError(
        f"{backend} is not able to do {name}{needed}. Choose a backend that is.", backend=backend, ability=name
    )

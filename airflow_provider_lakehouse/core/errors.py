"""The seven kinds of failure, one for each thing a caller can do about it.

| Kind | What it means | What the caller does |
|---|---|---|
| `InvalidRequestError` | the call, the settings or the contract is wrong | fix the call |
| `UnsupportedError` | this backend lacks the ability | choose another backend |
| `ConflictError` | another writer won, nothing was written | retry now |
| `UnavailableError` | a service did not answer, nothing was written | retry later |
| `OutcomeUnknownError` | the commit may have landed | rerun with the same token |
| `DataRejectedError` | the data breaks a contract or a check | fix the data |
| `DamagedError` | what is stored is not what the format promises | stop and look |

A message is one sentence that names the object and one that says what to do, followed by facts. Facts are identifiers and
counts; never the values of a row, never a secret. The wording is not part of the interface; the kind and the facts are.
"""

from __future__ import annotations

from typing import Any

Fact = str | int | float | bool | None | tuple[str, ...] | tuple[int, ...]


class LakehouseError(Exception):
    """Base of the seven kinds; never raised itself.

    Args:
        message: What happened, to which object, and what to do about it.
        **facts: Identifiers and counts, kept as `facts` and printed after the message.

    Example:
        >>> error = ConflictError("Table 'sales.orders' moved. Run the task again.", table="sales.orders", version=7)
        >>> str(error)
        "Table 'sales.orders' moved. Run the task again. [table='sales.orders' version=7]"
        >>> error.facts["version"]
        7
    """

    def __init__(self, message: str, **facts: Fact) -> None:
        self.message = message
        self.facts: dict[str, Fact] = facts
        super().__init__(message)

    def __str__(self) -> str:
        """Return the message followed by the facts."""
        if not self.facts:
            return self.message
        return f"{self.message} [{' '.join(f'{name}={value!r}' for name, value in self.facts.items())}]"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the facts with the message: Airflow sends errors between processes."""
        return _rebuild, (type(self), self.message, self.facts)


def _rebuild(kind: type[LakehouseError], message: str, facts: dict[str, Fact]) -> LakehouseError:
    return kind(message, **facts)


class InvalidRequestError(LakehouseError):
    """The call, the settings or the contract is wrong. Nothing was written; a retry cannot help; fix the call."""


class UnsupportedError(LakehouseError):
    """This backend lacks the ability. Nothing was written; a retry cannot help; choose another backend."""


class ConflictError(LakehouseError):
    """Another writer won. Nothing was written; retry now."""


class UnavailableError(LakehouseError):
    """A service did not answer. Nothing was written; retry later."""


class OutcomeUnknownError(LakehouseError):
    """The answer to a commit was lost, so it may have landed. Rerun with the same token; never with another."""


class DataRejectedError(LakehouseError):
    """The data breaks a contract or a check. Nothing was written to the target; fix the data."""


class DamagedError(LakehouseError):
    """What is stored is not what the format promises. Nothing was written; stop and look."""


KINDS: tuple[type[LakehouseError], ...] = (
    InvalidRequestError,
    UnsupportedError,
    ConflictError,
    UnavailableError,
    OutcomeUnknownError,
    DataRejectedError,
    DamagedError,
)
"""Every kind, for code that must decide about all of them."""

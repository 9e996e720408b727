"""Tell what an Iceberg catalog's failure means: refused, lost a race, not answered, or nobody knows."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_lakehouse.core.errors import (
    DamagedError,
    InvalidRequestError,
    LakehouseError,
    UnavailableError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOST_RACES: Final = ("sequence number", "already exists")
_NOT_FOUND: Final = 404
_UNDECIDED: Final = frozenset({408, 409, 425, 429})
"""Of the answers 400 to 499, those that another attempt may not get."""
_AWS_REFUSALS: Final = frozenset({
    "AccessDeniedException", "ExpiredTokenException", "IncompleteSignature", "InvalidClientTokenId",
    "InvalidInputException", "InvalidSignatureException", "MissingAuthenticationToken",
    "ResourceNumberLimitExceededException", "UnrecognizedClientException", "ValidationException",
})  # fmt: skip
_AWS_SETTINGS: Final = frozenset({
    "NoCredentialsError", "NoRegionError", "ParamValidationError", "PartialCredentialsError", "ProfileNotFound",
})  # fmt: skip


class LostRaceError(Exception):
    """Another commit came first; nothing was written, unless it was the same request, sent twice on its way.

    Never leaves the backend.
    """


class UnknownOutcomeError(Exception):
    """The catalog did not say whether the commit landed. Never leaves the backend."""


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn what a catalog raises outside of commits into one of the seven kinds."""
    try:
        yield
    except LakehouseError:
        raise
    except Exception as error:
        raise _kind(error, name) from error


def refusal(error: Exception, *, name: str) -> Exception:
    """Return what a failed commit means.

    Args:
        error: What the catalog raised.
        name: The table.

    Returns:
        `LostRaceError`; a kind of failure where it is certain that nothing was written; else `UnknownOutcomeError`.
    """
    import pydantic
    import pyiceberg.exceptions as e

    if isinstance(error, pydantic.ValidationError):  # an answer that cannot be read; a ValueError, too
        return UnknownOutcomeError(name)
    if isinstance(error, e.CommitFailedException) or (
        isinstance(error, ValueError | e.BadRequestError) and any(text in str(error) for text in _LOST_RACES)
    ):
        return LostRaceError(name)
    certain = isinstance(error, e.NoSuchTableError | e.ValidationError | ValueError) or _is_refused(error)
    return _kind(error, name) if certain else UnknownOutcomeError(name)


def _kind(error: Exception, name: str) -> LakehouseError:
    import pyiceberg.exceptions as e

    facts = {"table": name, "cause": type(error).__name__}
    missing = isinstance(error, e.NoSuchTableError | e.NoSuchNamespaceError)
    if missing or _status(error) == _NOT_FOUND:
        return InvalidRequestError(f"There is no table {name!r}. Create it.", **facts)
    if isinstance(error, e.NotInstalledError | ImportError | NotImplementedError):
        return UnsupportedError("The catalog needs what is not installed or not built. Install its extra.", **facts)
    if isinstance(error, PermissionError) or _is_refused(error):
        return InvalidRequestError("The catalog refused the request. Check the credentials and the settings.", **facts)
    if isinstance(error, e.NoSuchPropertyException | e.NoSuchIdentifierError):
        return InvalidRequestError("The catalog cannot work with these settings, or this name. Correct them.", **facts)
    if isinstance(error, e.ValidationError | FileNotFoundError | ValueError | TypeError):
        return DamagedError(f"The metadata of {name!r} cannot be read. Look before you write again.", **facts)
    return UnavailableError("The catalog did not answer as it should. Run again later.", **facts)


def _is_refused(error: Exception) -> bool:
    """Tell whether the catalog will refuse the same request again, and has done nothing."""
    import pyiceberg.exceptions as e

    refused = (
        e.UnauthorizedError,
        e.ForbiddenError,
        e.OAuthError,
        e.BadRequestError,
        e.AuthorizationExpiredError,
    )
    status = _status(error)
    if isinstance(error, refused) or (status is not None and 400 <= status < 500 and status not in _UNDECIDED):
        return True
    return _aws_code(error) in _AWS_REFUSALS or type(error).__name__ in _AWS_SETTINGS


def _status(error: Exception) -> int | None:
    """Return the status of an answer that PyIceberg has no exception for."""
    import pyiceberg.exceptions as e

    answer: Any = getattr(error.__cause__, "response", None) if isinstance(error, e.RESTError) else None
    return getattr(answer, "status_code", None)


def _aws_code(error: Exception) -> str:
    """Return the code of an AWS service's refusal, which boto3 carries in a dictionary; empty for other failures."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""

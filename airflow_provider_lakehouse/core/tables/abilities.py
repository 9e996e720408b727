"""What a table may be able to do beyond its seven verbs: one protocol for each verb; `require` refuses what it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from airflow_provider_lakehouse.core.tables.base import HEAD

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_provider_lakehouse.core.tables.base import At, CommitResult, FileListing, VersionFacts, WriteToken
    from airflow_provider_lakehouse.core.tables.filters import Filter


@runtime_checkable
class Addressing(Protocol):
    """Rows can be read with their address, and removed by it."""

    def read_addressed(self, *, columns: tuple[str, ...], where: Filter = (), at: At = HEAD) -> pa.RecordBatchReader:
        """Stream columns followed by `_file` (string) and `_pos` (int64)."""


@runtime_checkable
class Listing(Protocol):
    """The table is made of Parquet files that an engine may read by itself."""

    def list_files(self, *, where: Filter = (), at: At = HEAD) -> FileListing:
        """Return the live files that may hold rows that satisfy the filter."""


@runtime_checkable
class Comparing(Protocol):
    """Two states can be told apart without reading what they share."""

    def read_apart(self, *, before: At | None, after: At) -> tuple[pa.RecordBatchReader, pa.RecordBatchReader]:
        """Stream the rows of those parts that are not the same in two states, as the earlier and the later one have them.

        Rows that a part of both has, or that were carried into another part, may be in both streams.

        Args:
            before: The earlier state; None for a table without rows.
            after: The later state.
        """


@runtime_checkable
class TimeTravelling(Protocol):
    """Older states can be read."""

    def history(self, *, since: int | None = None) -> tuple[VersionFacts, ...]:
        """Return the commits of the main branch after `since`, oldest first; all that are known where it is None."""


@runtime_checkable
class Publishing(Protocol):
    """Batches can be staged on a branch, audited there, and published."""

    def publish(self, branch: str, *, token: WriteToken, audited: int | None = None) -> CommitResult:
        """Make the main branch the staged one, and drop the branch.

        Args:
            branch: The staged one.
            token: Names the publication.
            audited: Version of the branch that was audited: readers see exactly that, or what they saw before. None takes the
                newest, and a backend may bring it together with rows that the main branch got meanwhile.

        Raises:
            InvalidRequestError: There is no such branch, and the token did not publish it.
            ConflictError: The main branch moved since the branch left it, in a way that matters, or the branch moved since
                it was audited. What was audited does not hold for any row that the main branch got or lost since. Nothing
                was published.
        """

    def drop_branch(self, branch: str) -> None:
        """Forget a branch and the tokens of what was staged on it, so that the batch can be staged anew.

        Nothing happens when the branch is not there. Tokens of a branch that was published are kept.
        """


@runtime_checkable
class Tagging(Protocol):
    """States can be given names that outlive expiry."""

    def tag(self, name: str, *, at: At = HEAD) -> None:
        """Name a state. The same name for the same state again changes nothing.

        Raises:
            InvalidRequestError: The name stands for another state.
        """

    def drop_tag(self, name: str) -> None:
        """Forget a name; nothing happens when it is not there."""


@runtime_checkable
class RollingBack(Protocol):
    """An older state can be made the newest one."""

    def roll_back(self, to: At, *, token: WriteToken) -> CommitResult:
        """Make the main branch hold what it held at `to`, as a new entry of its history."""

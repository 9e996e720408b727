"""The ledger of files: which objects a pipeline has claimed, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from airflow_provider_lakehouse.core.errors import InvalidRequestError
from airflow_provider_lakehouse.core.tables.base import WriteToken

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_provider_lakehouse.core.sources.base import ExtractPlan

FileState = Literal["claimed", "loaded", "empty", "corrupt", "changed"]
"""What became of an object: `claimed` is not decided yet; `loaded` has given rows or rejected rows; `empty` held none;
`corrupt` could not be read and was refused as a whole; `changed` was gone or had new content when it was to be read
(its new content is another object, found by the next plan)."""


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one claimed object.

    Args:
        uri: Which.
        identity: Its content, as the plan saw it: an entity tag, or an instant of modification with a size.
        state: See `FileState`; never `claimed`.
        rows: Rows it gave; None where unknown.
        rejected: Rows of it that were refused; None where unknown.
    """

    uri: str
    identity: str
    state: FileState
    rows: int | None = None
    rejected: int | None = None

    def __post_init__(self) -> None:
        """Refuse an outcome that is none."""
        if self.state == "claimed":
            raise InvalidRequestError("A claim is not an outcome. Say what became of the file.", uri=self.uri)


@dataclass(frozen=True)
class ClaimedBatch:
    """Files that belong together under one token.

    Args:
        pipeline: Who claimed them.
        batch: Their number: 1 for the first claim of the pipeline, one more for each further one.
        plan: What is to be read, as it was decided before the claim.
    """

    pipeline: str
    batch: int
    plan: ExtractPlan

    @property
    def token(self) -> WriteToken:
        """The name of the one write that loads them."""
        return WriteToken(self.pipeline, self.batch)


@runtime_checkable
class FileLedger(Protocol):
    """Remembers which objects were claimed, by whom, and what became of them.

    An object is a URI with a content: the same name with new content is another object. The ledger does not say what
    the target holds: that is the target's own memory of tokens. It says which files belong to which token.

    Guarantees:
        Order: a pipeline has at most one unfinished batch, so its batches are loaded in the order of their numbers.
        Replay: claiming or finishing a batch again changes nothing.
        Crash: a claim is visible whole or not at all, and so is a finish.
        Concurrency: of two claims that overlap, or that meet an unfinished batch, one gets `ConflictError`.
    """

    def seen(self, pipeline: str) -> Mapping[str, frozenset[str]]:
        """Return the contents of every URI that the pipeline has claimed, finished or not."""

    def unfinished(self, pipeline: str) -> tuple[ClaimedBatch, ...]:
        """Return the batches that were claimed and not finished, oldest first; at most one."""

    def claim(self, pipeline: str, *, plan: ExtractPlan) -> ClaimedBatch:
        """Claim all files of a plan as one batch.

        Raises:
            InvalidRequestError: The plan has no slices, or one of them is not a file.
            ConflictError: There is an unfinished batch, or one of the files has been claimed. Nothing was written.
        """

    def finish(
        self, claimed: ClaimedBatch, *, outcomes: tuple[FileOutcome, ...], at: datetime
    ) -> tuple[FileOutcome, ...]:
        """Write what became of the files of a batch.

        Args:
            claimed: The batch, after the target has it.
            outcomes: One for each file of the batch.
            at: When.

        Returns:
            What the ledger says: the first outcomes written for the batch.

        Raises:
            InvalidRequestError: The outcomes are not those of the batch's files. Nothing was written.
        """

    def outcomes(self, pipeline: str, *, batch: int) -> tuple[FileOutcome, ...]:
        """Return what became of the files of a batch, in the plan's order; empty when it is not finished."""


def check_claim(plan: ExtractPlan) -> None:
    """Refuse a plan that cannot be claimed: the one rule for every ledger.

    Raises:
        InvalidRequestError: The plan has no slices, or one of them has no identity.
    """
    unclear = tuple(s.name for s in plan.slices if not isinstance(s.facts.get("identity"), str))
    if not plan.slices or unclear:
        raise InvalidRequestError(
            "Only a plan of files can be claimed, and not an empty one. Plan with a source of files.",
            slices=unclear[:10],
        )


def check_outcomes(claimed: ClaimedBatch, outcomes: tuple[FileOutcome, ...]) -> tuple[FileOutcome, ...]:
    """Return the outcomes in the plan's order: the one rule for every ledger.

    Raises:
        InvalidRequestError: They are not those of the batch's files.
    """
    order = [(s.name, str(s.facts["identity"])) for s in claimed.plan.slices]
    given = {(outcome.uri, outcome.identity): outcome for outcome in outcomes}
    if len(given) != len(outcomes) or set(given) != set(order):
        raise InvalidRequestError(
            f"Batch {claimed.batch} needs one outcome for each of its files. Give them all.",
            pipeline=claimed.pipeline,
            files=len(order),
            outcomes=len(outcomes),
        )
    return tuple(replace(given[key]) for key in order)

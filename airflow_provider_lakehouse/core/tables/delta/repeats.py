"""Tell whether what is staged was written to the main branch since: by an attempt that was thought dead and came back.

An attempt that hangs just before it starts a branch finds the branch of the attempt that replaced it published and gone,
so it starts another. What it stages there must not be published a second time. All it can have missed are commits after
the version its branch starts from, and each of those says which batches it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_lakehouse.core.tables.base import WriteToken
from airflow_provider_lakehouse.core.tables.delta.actions import NOTE, PUBLISHED_WRITES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_lakehouse.core.tables.delta.log import Action, Commit


def tokens_in(commits: Iterable[Commit]) -> frozenset[str]:
    """Return the digests of all tokens that commits hold, those of published batches included."""
    return frozenset(_digest(note) for commit in commits for note in _notes(commit))


def repeated(staged: Iterable[Commit], since: Iterable[Commit]) -> tuple[int, int]:
    """Count batches.

    Args:
        staged: Entries of a branch.
        since: Commits of the main branch after the version it starts from.

    Returns:
        How many batches are staged, and how many of them the main branch has got.
    """
    mine = tokens_in(staged)
    return len(mine), len(mine & tokens_in(since))


def _notes(commit: Commit) -> tuple[Action, ...]:
    note = commit.info.get(NOTE, {})
    return (*note.get("writes", {}).values(), *note.get(PUBLISHED_WRITES, ()))


def _digest(note: Action) -> str:
    return WriteToken(note["pipeline"], note["batch"]).digest

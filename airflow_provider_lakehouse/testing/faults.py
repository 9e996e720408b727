"""Die at every step, rerun, and compare: the proof of "once".

Backends call a probe with the name of a step just before and just after everything that leaves the process. `crash_sweep` runs an
action once to learn its steps, then once for every step, dying there, and runs it again as Airflow would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SimulatedCrash(BaseException):
    """The process is dead. Not an `Exception`, so that no clean-up runs: a killed process runs none."""


class Recorder:
    """A probe that remembers the steps it was told."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        """Remember a step."""
        self.steps.append(step)


class DeathAt:
    """A probe that dies at the n-th step, counted from zero.

    Example:
        >>> probe = DeathAt(1)
        >>> probe("before catalog.commit")
        >>> try:
        ...     probe("after catalog.commit")
        ... except SimulatedCrash as crash:
        ...     print(crash)
        after catalog.commit
    """

    def __init__(self, step: int) -> None:
        self.remaining = step

    def __call__(self, step: str) -> None:
        """Die when it is time."""
        if self.remaining == 0:
            self.remaining -= 1
            raise SimulatedCrash(step)
        self.remaining -= 1


def crash_sweep[Subject, Outcome](
    *,
    prepare: Callable[[int], Subject],
    act: Callable[[Subject, Callable[[str], None]], object],
    observe: Callable[[Subject], Outcome],
    at: Callable[[str], bool] = bool,
) -> list[str]:
    """Run an action dying at each of its steps in turn, rerun it, and demand the same end every time.

    Args:
        prepare: Makes a fresh subject; called with a number that is different each time.
        act: Does the work on a subject, telling the probe its steps. Called again on the same subject after a death.
        observe: Returns what must be equal: rows, files left on disk, counts.
        at: Tells of a step whether to die there; without it at every one.

    Returns:
        The steps at which the action died, in order.

    Raises:
        AssertionError: One death led to another end; the message names the step.
    """
    recorder = Recorder()
    subject = prepare(0)
    act(subject, recorder)
    wanted = observe(subject)
    deaths = [(index, step) for index, step in enumerate(recorder.steps) if at(step)]
    for index, step in deaths:
        subject = prepare(index + 1)
        try:
            act(subject, DeathAt(index))
        except SimulatedCrash:
            pass
        else:
            raise AssertionError(f"The action swallowed its death at step {index}, {step!r}.")
        act(subject, Recorder())
        found = observe(subject)
        if found != wanted:
            raise AssertionError(f"After a death at step {index}, {step!r}, the end is {found!r}, not {wanted!r}.")
    return [step for _, step in deaths]

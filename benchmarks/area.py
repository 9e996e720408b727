"""What is compared: an area of work, those who contend in it, and one run of one of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

Kind = Literal["ours", "peer", "limit"]
Clock = Literal["process", "work", "cpu"]
Answer = Mapping[str, Any]
"""What a run must come to: counts and sums by name."""

EVERYWHERE = "*"
"""Group of a contender that every group of its area is compared with."""


@dataclass(frozen=True)
class Job:
    """One run.

    Args:
        inputs: Folder of the area's inputs, shared and never changed.
        folder: Folder of this run alone.
        scale: Size of the inputs; 1 is the size of the published table.
        service: How to reach the server that the area started; empty where it needs none.
    """

    inputs: Path
    folder: Path
    scale: float
    service: str = ""

    def to_json(self) -> str:
        """Return the job as text, for the process that does it."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        value = json.loads(text)
        return cls(Path(value["inputs"]), Path(value["folder"]), value["scale"], value["service"])


@dataclass(frozen=True)
class Contender:
    """A way to do the work of an area.

    Args:
        name: Shown in the table.
        kind: Ours, another library, or the least that anybody could need.
        group: Who is compared with whom.
        begin: Imports and opens what the work needs, and returns the work.
        stage: Runs before, in a process of its own that is not measured.
        check: Reads back, in a process of its own, what the run has come to; None where there is nothing to read.
        expects: Which of the area's expected answers the check must equal; empty for the group's name.
        needs: Modules without which it cannot run.
        note: What the reader of the table has to know.
        most_rounds: Runs at most so often, because it is too slow to wait for.
    """

    name: str
    kind: Kind
    group: str
    begin: Callable[[Job], Callable[[], object]]
    stage: Callable[[Job], None] | None = None
    check: Callable[[Job], Answer] | None = None
    expects: str = ""
    needs: tuple[str, ...] = ()
    note: str = ""
    most_rounds: int = 1_000


@dataclass(frozen=True)
class Area:
    """A piece of work that people do, and the ways to do it.

    Args:
        name: Said on the command line.
        title: Said above the table.
        clock: What the ratios compare: seconds of the whole process, of the work alone (without imports and opening),
            or CPU seconds of the work.
        prepare: Makes the inputs in a folder at a scale, and returns the expected answers by name. Run in a process of
            its own, once for a scale.
        contenders: In the order in which they run.
        rounds: How often each runs where the command line does not say.
        service: Starts a server for the inputs and gives its address; None where none is needed.
    """

    name: str
    title: str
    clock: Clock
    prepare: Callable[[Path, float], Mapping[str, Answer]]
    contenders: tuple[Contender, ...]
    rounds: int = 3
    service: Callable[[Path], AbstractContextManager[str]] | None = None

    def groups(self) -> tuple[str, ...]:
        """Return the groups in the order of their first contender."""
        return tuple(dict.fromkeys(c.group for c in self.contenders if c.group != EVERYWHERE))


@dataclass(frozen=True)
class Run:
    """What one run took.

    Args:
        process_seconds: From the start of the process to its end.
        work_seconds: Of the work alone.
        cpu_seconds: CPU time of the work, children included.
        process_cpu_seconds: CPU time of the whole process, likewise.
        peak_bytes: Largest resident memory of the process, or of a child of it.
    """

    process_seconds: float
    work_seconds: float
    cpu_seconds: float
    process_cpu_seconds: float
    peak_bytes: int


@dataclass
class Measured:
    """All runs of a contender.

    Args:
        contender: Who.
        runs: Those that came to the expected answer.
        failure: Why it is not measured; empty when it is.
    """

    contender: Contender
    runs: list[Run] = field(default_factory=list)
    failure: str = ""

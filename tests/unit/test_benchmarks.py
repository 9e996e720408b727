"""The benchmarks run: every area at a tiny scale, answers checked, no time judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import child, measure, report
from benchmarks.area import Area, Contender, Job, Measured, Run

if TYPE_CHECKING:
    from pathlib import Path

TINY = 0.005
ELSEWHERE = ("bulk", "parse")
"""One needs a server, the other a process that has imported nothing yet."""
PAIRS = [
    pytest.param(name, contender, id=f"{name}: {contender.name}")
    for name in child.AREAS
    for contender in child.area_of(name).contenders
    if contender.kind == "ours" and name not in ELSEWHERE
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict]]:
    """Inputs and expected answers of an area, made when they are first asked for."""

    class Prepared(dict):
        def __missing__(self, name: str) -> tuple[Path, dict]:
            inputs = tmp_path_factory.mktemp(name)
            self[name] = inputs, dict(child.area_of(name).prepare(inputs, TINY))
            return self[name]

    return Prepared()


@pytest.mark.parametrize("name", child.AREAS)
def test_every_area_has_ours_and_a_limit_in_every_group(name: str) -> None:
    area = child.area_of(name)

    assert len({contender.name for contender in area.contenders}) == len(area.contenders)
    for group in area.groups():
        kinds = [c.kind for c in area.contenders if c.group in (group, "*")]
        assert kinds.count("ours") == 1
        assert "limit" in kinds


@pytest.mark.parametrize(("name", "contender"), PAIRS)
def test_ours_comes_to_the_expected_answer(name: str, contender: Contender, prepared, tmp_path: Path) -> None:
    inputs, expected = prepared[name]
    job = Job(inputs, tmp_path, TINY)

    if contender.stage is not None:
        contender.stage(job)
    contender.begin(job)()

    assert contender.check is not None
    measure.require_equal(contender.check(job), expected[contender.expects or contender.group])


def test_the_rows_for_the_server_add_up(prepared) -> None:
    inputs, expected = prepared["bulk"]

    assert expected["delta"] == expected["iceberg"]
    assert expected["delta"]["rows"] == str(len((inputs / "lineitem.csv").read_text().splitlines()))


def test_runs_are_measured_in_processes_of_their_own(tmp_path: Path) -> None:
    (found,) = measure.measure(
        child.area_of("query"), scale=TINY, rounds=1, data=tmp_path, only="bare files [iceberg, all]"
    )

    assert found.failure == ""
    assert found.runs[0].process_seconds > found.runs[0].work_seconds > 0
    assert found.runs[0].peak_bytes > 1_000_000


def test_a_file_that_imports_everything_of_ours_parses_without_a_heavy_library(tmp_path: Path) -> None:
    (found,) = measure.measure(child.area_of("parse"), scale=TINY, rounds=1, data=tmp_path, only="every public module")

    assert found.failure == ""


def test_a_wrong_answer_is_no_result() -> None:
    with pytest.raises(measure.StepFailedError, match="rows: 1 instead of 2"):
        measure.require_equal({"rows": "1"}, {"rows": "2"})


def test_the_table_gives_medians_and_ratios_and_says_what_was_not_measured() -> None:
    def contender(name: str, kind: str) -> Contender:
        return Contender(name, kind, "g", lambda job: lambda: None)  # type: ignore[arg-type, return-value]

    contenders = (contender("mine", "ours"), contender("theirs", "peer"), contender("floor", "limit"))
    area = Area("a", "title", "process", lambda folder, scale: {}, contenders)
    runs = [Run(seconds, seconds, seconds, seconds, 1024 * 1024) for seconds in (1.0, 2.0, 9.0)]
    results = [
        Measured(contenders[0], runs),
        Measured(contenders[1], failure="it broke"),
        Measured(contenders[2], runs[:1]),
    ]

    lines = report.table(area, results).splitlines()

    cells = [cell.strip() for cell in next(line for line in lines if "mine" in line).split("|")]
    assert cells[2:4] == ["2", "1-9"]
    assert cells[7:9] == ["1.00", "2.00"]
    assert "* theirs: NOT MEASURED, it broke" in lines

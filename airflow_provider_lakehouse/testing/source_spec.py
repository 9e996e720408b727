"""The specification of a source, to be inherited by the tests of every kind of source.

Give `TestMySource(SourceSpecification)` the methods `filled` and `empty`, and nothing else.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_lakehouse.core.errors import InvalidRequestError, UnsupportedError
from airflow_provider_lakehouse.core.sources.base import (
    SOURCE_FILE_COLUMN,
    SOURCE_ROW_COLUMN,
    ExtractPlan,
    Rejects,
    Slice,
    Source,
)

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class SourceSpecification:
    """What every source promises."""

    def filled(self, root: Path) -> Source:
        """Open a source that has at least two rows that can be read; for one root always with the same rows."""
        raise UnsupportedError("The tests of a source say how it is made.")

    def empty(self, root: Path) -> Source:
        """Open another source, that has no rows."""
        raise UnsupportedError("The tests of a source say how it is made.")

    def test_it_is_a_source(self, tmp_path: Path) -> None:
        assert isinstance(self.filled(tmp_path), Source)

    def test_opening_a_source_does_not_read_it(self, tmp_path: Path) -> None:
        assert "://" in self.filled(tmp_path).identity

    def test_a_plan_travels_as_json(self, tmp_path: Path) -> None:
        plan = self.filled(tmp_path).plan(position=None, now=NOW)
        again = ExtractPlan.from_json(json.loads(json.dumps(plan.to_json())))
        assert (again, again.fingerprint) == (plan, plan.fingerprint)
        assert (plan.source, plan.planned_at) == (self.filled(tmp_path).identity, NOW)

    def test_the_same_slices_have_the_same_fingerprint_whenever_they_are_planned(self, tmp_path: Path) -> None:
        source = self.filled(tmp_path)
        plans = [source.plan(position=None, now=NOW + timedelta(days=day)) for day in (0, 1)]
        assert plans[0].fingerprint == plans[1].fingerprint

    def test_the_same_plan_gives_the_same_rows(self, tmp_path: Path) -> None:
        plan = self.filled(tmp_path).plan(position=None, now=NOW)
        again = ExtractPlan.from_json(json.loads(json.dumps(plan.to_json())))
        rows = _read(self.filled(tmp_path), plan)
        assert len(rows) > 1
        assert rows == _read(self.filled(tmp_path), again)

    def test_rows_end_with_where_they_came_from(self, tmp_path: Path) -> None:
        source = self.filled(tmp_path)
        with source.read(source.plan(position=None, now=NOW), rejects=Rejects()) as reader:
            assert reader.schema.names[-2:] == [SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN]
            assert all(reader.read_all().column(SOURCE_FILE_COLUMN).is_valid().to_pylist())

    def test_a_plan_of_another_kind_of_source_is_refused(self, tmp_path: Path) -> None:
        plan = ExtractPlan("other://source", NOW, (Slice("one"),))
        with pytest.raises(InvalidRequestError):
            _read(self.filled(tmp_path), plan)

    def test_an_empty_source_can_be_planned_and_read(self, tmp_path: Path) -> None:
        source = self.empty(tmp_path)
        assert _read(source, source.plan(position=None, now=NOW)) == []

    def test_a_read_that_is_given_up_can_be_started_again(self, tmp_path: Path) -> None:
        source = self.filled(tmp_path)
        plan = source.plan(position=None, now=NOW)
        with source.read(plan, rejects=Rejects()):
            pass
        assert len(_read(source, plan)) > 1


def _read(source: Source, plan: ExtractPlan) -> list[dict[str, Any]]:
    with source.read(plan, rejects=Rejects()) as reader:
        rows: list[dict[str, Any]] = reader.read_all().to_pylist()
    return sorted(rows, key=repr)

"""Errors: seven kinds, with facts that survive the way between processes."""

from __future__ import annotations

import pickle

import pytest

from airflow_provider_lakehouse.core.abilities import require
from airflow_provider_lakehouse.core.errors import KINDS, LakehouseError, UnsupportedError
from airflow_provider_lakehouse.core.tables.abilities import Publishing


def test_there_are_seven_kinds() -> None:
    assert len(KINDS) == 7
    assert set(LakehouseError.__subclasses__()) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_keeps_its_kind_message_and_facts_when_pickled(kind: type[LakehouseError]) -> None:
    error = pickle.loads(pickle.dumps(kind("It broke. Mend it.", table="a.b", rows=3)))
    assert (type(error), error.message, error.facts) == (kind, "It broke. Mend it.", {"table": "a.b", "rows": 3})
    assert str(error) == "It broke. Mend it. [table='a.b' rows=3]"


def test_a_missing_ability_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="object is not able to do Publishing, needed to publish a batch"):
        require(object(), Publishing, purpose="to publish a batch")

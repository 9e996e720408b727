"""Whatever a contract says is read as it was written, by readers of either version of YAML."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_lakehouse.core.contracts.yaml_text import read_document, write_document

ODD = ("NO", "on", "~", "<<", "2017-01-01", "1_000", "12:30:00")
TEXTS = st.one_of(st.text(), st.from_regex(r"[-+]?[0-9.eExo:_]{1,6}", fullmatch=True), st.sampled_from(ODD))
NUMBERS = st.one_of(st.integers(-(10**40), 10**40), st.floats(allow_nan=False, allow_infinity=False, width=32))
KEYS = TEXTS.filter(lambda key: key != "<<")
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    assert read_document(write_document(value), source="x").value == value


@given(TEXTS)
def test_other_readers_see_the_same_texts(text: str) -> None:
    assert yaml.safe_load(write_document({"name": text})) == {"name": text}

"""A contract that uses most of the standard."""

from __future__ import annotations

import pytest

from airflow_provider_lakehouse.core.contracts.contract import Contract
from airflow_provider_lakehouse.core.contracts.odcs import read_contract
from tests.unit.core.contracts.contract_texts import ORDERS


@pytest.fixture(scope="session")
def orders() -> Contract:
    return read_contract(ORDERS, source="orders.odcs.yaml")

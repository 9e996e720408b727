"""Tests that a team commits: a pytest file that holds a table to its contract, one test for each check.

The file holds no rule and no SQL. It reads the contract when it runs, and asks the lakehouse that the environment names.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.contracts.odcs import read_contract_file
from airflow_provider_lakehouse.core.engines.base import TableView
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.core.quality.checks import Expectation
from airflow_provider_lakehouse.core.quality.from_contract import checks_of_contract
from airflow_provider_lakehouse.core.quality.questions import CHECKED
from airflow_provider_lakehouse.core.quality.run import run_checks
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.tables.base import CatalogSettings

if TYPE_CHECKING:
    from airflow_provider_lakehouse.core.contracts.contract import Contract
    from airflow_provider_lakehouse.core.quality.checks import CheckOutcome

CATALOG_VARIABLE: Final = "LAKEHOUSE_CATALOG"
"""Variable of the environment that says which lakehouse is asked: `CatalogSettings` as JSON."""
_FILE: Final = '''\
"""Holds a table to its contract. Generated: change the contract, not this file.

The environment variable LAKEHOUSE_CATALOG says which lakehouse is asked, for example:
{{"format": "iceberg", "warehouse": "file:///data/lake"}}
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_lakehouse.core.quality.generated_tests import ContractTests

TESTS = ContractTests(Path(__file__).parent, **json.loads({settings}))


@pytest.mark.parametrize("check", TESTS.names())
def test_the_table_keeps_its_contract(check: str) -> None:
    TESTS.require(check)
'''


def pytest_file(contract: str | Path, *, table: str, left_to: tuple[str, ...] = ()) -> str:
    """Return the text of a pytest file for one table of a contract.

    Args:
        contract: Path of the contract. A relative one is looked for in the folder of the test file, and then upwards.
        table: Name or physical name of the table.
        left_to: Engines whose `custom` rules somebody else runs.

    Returns:
        Python. Names stand in it as data, whatever characters they have.

    Raises:
        InvalidRequestError: The contract is wrong, or has no such table.
        UnsupportedError: It demands something that no check can tell.
    """
    checks_of_contract(read_contract_file(contract), table=table, left_to=left_to)
    settings = {"contract": Path(contract).as_posix(), "table": table, "left_to": list(left_to)}
    # JSON in ASCII has neither line breaks nor triple quotes, so its repr is one plain literal.
    return _FILE.format(settings=repr(json.dumps(settings)))


@dataclass(frozen=True)
class ContractTests:
    """What a generated file runs.

    Args:
        folder: Of the file.
        contract: Path of the contract.
        table: Name or physical name of the table.
        left_to: Engines whose `custom` rules somebody else runs.
    """

    folder: Path
    contract: str
    table: str
    left_to: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """Return the names of the checks, in the order of the contract."""
        checks = checks_of_contract(self._contract, table=self.table, left_to=tuple(self.left_to))
        return [check.name for check in checks]

    def require(self, check: str) -> None:
        """Check the table, once for all its checks, and stop where this one is broken.

        Raises:
            DataRejectedError: It is broken and not only a warning, or nobody knows.
            InvalidRequestError: The environment names no lakehouse.
        """
        outcome = self._outcomes[check]
        if outcome.stops or outcome.verdict == "unknown":
            raise DataRejectedError(
                f"Table {self.table!r} breaks {check!r}. Correct the rows at the source.",
                table=self.table,
                verdict=outcome.verdict,
                violations=outcome.violations,
                error=outcome.error,
            )

    @cached_property
    def _contract(self) -> Contract:
        path = Path(self.contract)
        places = [folder / path for folder in (self.folder, *self.folder.parents)]
        return read_contract_file(next((place for place in places if place.is_file()), path))

    @cached_property
    def _outcomes(self) -> dict[str, CheckOutcome]:
        settings = catalog_from_environment()
        name = self._contract.table(self.table).stored_name
        catalog = find("tables", settings.format)(settings)
        table = catalog.table(name)
        checks = checks_of_contract(self._contract, table=self.table, left_to=tuple(self.left_to))
        version = table.facts().version
        engine = find("engines", "duckdb")()
        compared = {one for check in checks if isinstance(check, Expectation) for one in check.other_tables}
        others = {one: TableView(catalog.table(one)) for one in compared - {CHECKED}}
        result = run_checks(TableView(table), checks, engine=engine, table=name, version=version, tables=others)
        return {outcome.name: outcome for outcome in result.outcomes}


def catalog_from_environment() -> CatalogSettings:
    """Return the lakehouse that the environment names.

    Raises:
        InvalidRequestError: It names none, or in another form.
    """
    try:
        given = json.loads(os.environ[CATALOG_VARIABLE])
        if set(given) - {one.name for one in fields(CatalogSettings)}:
            raise KeyError
        return CatalogSettings(**given)
    except (KeyError, TypeError, ValueError):
        raise InvalidRequestError(
            "The environment names no lakehouse. Give its format and warehouse as JSON.", variable=CATALOG_VARIABLE
        ) from None

"""Commands for people and for CI. They need no Airflow, and import none."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airflow_provider_lakehouse.core.contracts.compatibility import plan_contract_change
from airflow_provider_lakehouse.core.contracts.odcs import read_contract_file, write_contract
from airflow_provider_lakehouse.core.errors import InvalidRequestError, LakehouseError
from airflow_provider_lakehouse.core.quality.contract_findings import contract_findings
from airflow_provider_lakehouse.core.quality.contract_proposal import suggest_contract
from airflow_provider_lakehouse.core.quality.generated_tests import catalog_from_environment, pytest_file
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.sources.base import SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN, Rejects
from airflow_provider_lakehouse.core.sources.files.source import FileSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from airflow_provider_lakehouse.core.contracts.compatibility import ContractChange
    from airflow_provider_lakehouse.core.tables.base import Table

FINE: Final = 0
FOUND: Final = 1
UNUSABLE: Final = 2
"""Exit code where a command could not do its work; argparse uses the same."""


def main(arguments: Sequence[str]) -> int:
    """Run a command.

    Args:
        arguments: Without the name of the program.

    Returns:
        The exit code: 0 where all is well, 1 where something was found, 2 where the command could not run.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = given.run
    try:
        return run(given)
    except LakehouseError as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m airflow_provider_lakehouse", description=__doc__)
    rooms = parser.add_subparsers(required=True, metavar="contract")
    contract = rooms.add_parser("contract", help="data contracts of the Open Data Contract Standard 3")
    commands = contract.add_subparsers(required=True, metavar="check|diff|suggest|tests")

    check = commands.add_parser("check", help="list what is wrong; exit 1 where something is")
    check.add_argument(
        "files", nargs="+", metavar="FILE", help="contracts; their SQL may name the tables of all of them"
    )
    _with_left_to(check)
    check.add_argument("--json", action="store_true", help="for programs")
    check.set_defaults(run=_check)

    diff = commands.add_parser("diff", help="list what a new version changes; exit 1 where it breaks somebody")
    diff.add_argument("old", metavar="OLD")
    diff.add_argument("new", metavar="NEW")
    diff.add_argument("--for", dest="party", choices=("readers", "writers"), help="look at one side only")
    diff.add_argument("--json", action="store_true", help="for programs")
    diff.set_defaults(run=_diff)

    suggest = commands.add_parser("suggest", help="print a draft of a contract that a table or files keep as they are")
    suggest.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="CSV, JSON lines, Parquet or Avro, or patterns of them; without any, the table is read from the lakehouse "
        "that the environment variable LAKEHOUSE_CATALOG names",
    )
    suggest.add_argument("--table", required=True, metavar="NAMESPACE.TABLE", help="what the contract is of")
    suggest.set_defaults(run=_suggest)

    tests = commands.add_parser("tests", help="print a pytest file that holds a table to its contract")
    tests.add_argument("file", metavar="FILE")
    tests.add_argument("--table", required=True, help="name or physical name")
    _with_left_to(tests)
    tests.set_defaults(run=_tests)
    return parser


def _with_left_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--left-to",
        action="append",
        default=[],
        metavar="ENGINE",
        help="leave `custom` rules of an engine, such as soda, to it",
    )


def _check(given: argparse.Namespace) -> int:
    found = contract_findings(given.files, engine=find("engines", "duckdb")(), left_to=tuple(given.left_to))
    if given.json:
        _say(json.dumps({path: [asdict(fault) for fault in faults] for path, faults in found.items()}, indent=2))
    else:
        for path, faults in found.items():
            for fault in faults:
                _say(f"{path}:{fault.line}: {f'{fault.path}: ' if fault.path else ''}{fault.reason}")
            if not faults:
                _say(f"{path}: nothing is wrong")
    return FOUND if any(found.values()) else FINE


def _diff(given: argparse.Namespace) -> int:
    change = plan_contract_change(read_contract_file(given.old), read_contract_file(given.new))
    breaking = change.breaking(given.party)
    if given.json:
        _say(json.dumps({**asdict(change), "step": change.step, "breaking": len(breaking)}, indent=2))
    else:
        _say(_table(change, breaking_only=given.party))
    return FOUND if breaking else FINE


def _table(change: ContractChange, *, breaking_only: str | None) -> str:
    """Return differences as lines in columns, and what they mean for the version."""
    shown = change.breaking(breaking_only) if breaking_only else change.differences  # type: ignore[arg-type]
    rows = [("breaks", "what", "", "why"), *((one.who, one.path, one.kind, one.why) for one in shown)]
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    lines = [
        "  ".join((*(text.ljust(width) for text, width in zip(row[:3], widths, strict=True)), row[3])) for row in rows
    ]
    version = f"{change.before} -> {change.after}"
    step = f"{version}: " + (
        "nothing changed" if change.step == "none" else f"the change asks for a {change.step} version"
    )
    return "\n".join([*(lines if shown else []), step])


def _tests(given: argparse.Namespace) -> int:
    sys.stdout.write(pytest_file(given.file, table=given.table, left_to=tuple(given.left_to)))
    return FINE


def _suggest(given: argparse.Namespace) -> int:
    relation = _rows(given.files) if given.files else _table_of_lakehouse(given.table)
    contract = suggest_contract(relation, engine=find("engines", "duckdb")(), table=given.table)
    _say("# A draft, made from rows: it holds values of theirs. Review it before others see it.")
    sys.stdout.write(write_contract(contract))
    return FINE


def _table_of_lakehouse(name: str) -> Table:
    settings = catalog_from_environment()
    table: Table = find("tables", settings.format)(settings).table(name)
    return table


def _rows(patterns: Sequence[str]) -> pa.Table:
    """Return the rows of files, held in memory; rows that cannot be read are told."""
    import pyarrow as pa

    rejects, found = Rejects(), []
    for pattern in patterns:
        source = find("sources", "files")(FileSettings(pattern, on_corrupt="fail"))
        plan = source.plan(position=None, now=datetime.now(UTC))
        if plan.slices:
            found.append(source.read(plan, rejects=rejects).read_all())
    if not found:
        raise InvalidRequestError(
            "There are no files to make a contract from. Correct the paths.", files=tuple(patterns)
        )
    if rejects.rows:
        sys.stderr.write(f"{len(rejects.rows)} rows cannot be read and are left out: {rejects.rows[0].reason}, ...\n")
    try:
        rows = pa.concat_tables(found, promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InvalidRequestError(
            "The files have columns of one name and several types. Make a contract from files of one kind.",
            files=tuple(patterns),
        ) from error
    return rows.drop_columns([SOURCE_FILE_COLUMN, SOURCE_ROW_COLUMN])


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")

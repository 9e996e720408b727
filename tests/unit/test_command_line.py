"""Commands tell by their output what is wrong and by their exit code whether anything is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from airflow_provider_lakehouse.command_line import main
from airflow_provider_lakehouse.core.contracts.odcs import read_contract_file
from airflow_provider_lakehouse.core.registry import find
from airflow_provider_lakehouse.core.schema import Column, Schema
from airflow_provider_lakehouse.core.tables.base import CatalogSettings, Change, WriteToken
from airflow_provider_lakehouse.core.tables.spec import TableSpec
from tests.unit.core.contracts.contract_texts import ORDERS, with_column, with_rule

ROOT = Path(__file__).parents[2]


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, "utf-8")
    return str(folder / name)


def test_a_contract_that_is_right_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "orders.yaml", ORDERS)
    assert main(["contract", "check", path]) == 0
    assert capsys.readouterr().out == f"{path}: nothing is wrong\n"


def test_every_finding_of_every_file_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = written(tmp_path, "wrong.yaml", with_column("{name: c, color: red, required: 1}"))
    impossible = written(tmp_path, "impossible.yaml", with_column("{name: c, physicalType: geography}"))
    assert main(["contract", "check", wrong, impossible, str(tmp_path / "none.yaml")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{wrong}:9: schema[t].properties[c].color: there is no field 'color' here"
    assert lines[1] == f"{wrong}:9: schema[t].properties[c].required: it is no boolean"
    assert lines[2].startswith(f"{impossible}:9: schema[t].properties[c]: Column 'c' has no possible type")
    assert "cannot be read" in lines[-1]


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT count(*) FROM {object} WHERE missing > 1", "missing"),
        ("SELECT 1; SELECT 2", "syntax error"),
        ("DELETE FROM {object}", "syntax error"),
        ("SELECT count(*) FROM elsewhere", "elsewhere"),
    ],
)
def test_sql_that_cannot_run_is_found_before_there_is_data(
    sql: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "t.yaml", with_rule(f"{{name: n, type: sql, query: '{sql}', mustBe: 0}}"))
    assert main(["contract", "check", path]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{path}:12: schema[t].quality[n]: its SQL cannot run: ")
    assert reason in out


GX = "{{name: n, type: custom, engine: greatExpectations, implementation: {{type: {}, kwargs: {}}}}}"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (with_column("{name: c, logicalType: string, logicalTypeOptions: {pattern: 'a(?=b)'}}"), 9, "linear time"),
        (with_column("{name: c, logicalType: string, logicalTypeOptions: {pattern: '('}}"), 9, "no regular expression"),
        (
            with_column(
                "{name: c, logicalType: string, quality: "
                "[{metric: invalidValues, mustBeLessThan: 5, arguments: {pattern: '(?=x)'}}]}"
            ),
            9,
            "its SQL cannot run",
        ),
        (with_rule(GX.format("expect_nonsense", "{column: a}")), 12, "There is no expectation"),
        (
            with_rule(GX.format("expect_column_values_to_be_between", "{column: a, min_value: 3, max_value: 1}")),
            12,
            "above the highest",
        ),
        (
            with_rule(GX.format("unexpected_rows_expectation", "{unexpected_rows_query: 'DELETE FROM {batch}'}")),
            12,
            "its SQL cannot run",
        ),
        (
            with_rule(
                "{name: n, type: custom, engine: lakehouse, implementation: {condition: 'true); DROP TABLE x; --'}}"
            ),
            12,
            "its SQL cannot run",
        ),
    ],
)
def test_a_check_that_would_be_refused_is_found_before_there_is_data(
    text: str, line: int, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "t.yaml", text)
    assert main(["contract", "check", path]) == 1
    (found,) = capsys.readouterr().out.splitlines()
    assert found.startswith(f"{path}:{line}: ")
    assert reason in found


def test_sql_may_name_the_tables_of_the_other_contracts(tmp_path: Path) -> None:
    rule = "{type: sql, query: SELECT count(*) FROM silver.orders, mustBe: 0}"
    paths = [written(tmp_path, "t.yaml", with_rule(rule)), written(tmp_path, "orders.yaml", ORDERS)]
    assert main(["contract", "check", *paths]) == 0
    assert main(["contract", "check", paths[0]]) == 1


def test_findings_are_there_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "t.yaml", with_rule("{type: custom, engine: soda, implementation: x}"))
    assert main(["contract", "check", "--json", path]) == 1
    (finding,) = json.loads(capsys.readouterr().out)[path]
    assert finding["line"] == 12
    assert main(["contract", "check", "--left-to", "soda", path]) == 0


def test_a_difference_is_a_line_and_breaks_by_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = written(tmp_path, "old.yaml", ORDERS)
    new = written(
        tmp_path, "new.yaml", ORDERS.replace("minimum: 0", "minimum: 1").replace("version: 1.4.0", "version: 2.0.0")
    )
    assert main(["contract", "diff", old, new]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("  ") == [
        "writers",
        "orders.amount.minimum",
        "changed",
        "values that were allowed are refused",
    ]
    assert lines[2] == "1.4.0 -> 2.0.0: the change asks for a major version"
    assert main(["contract", "diff", old, new, "--for", "readers"]) == 0
    assert main(["contract", "diff", old, new, "--for", "writers"]) == 1


def test_versions_that_say_the_same_are_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = written(tmp_path, "old.yaml", ORDERS)
    assert main(["contract", "diff", old, old]) == 0
    assert capsys.readouterr().out == "1.4.0 -> 1.4.0: nothing changed\n"


def test_differences_are_there_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = (
        written(tmp_path, name, text)
        for name, text in (("a", ORDERS), ("b", ORDERS.replace("domain: sales", "domain: x")))
    )
    assert main(["contract", "diff", "--json", old, new]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["step"], found["breaking"]) == ("patch", 0)
    assert [one["path"] for one in found["differences"]] == ["domain"]


def test_a_test_file_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "orders.yaml", ORDERS)
    assert main(["contract", "tests", path, "--table", "orders"]) == 0
    compile(capsys.readouterr().out, "test_orders.py", "exec")


CSV = "id,state\n" + "".join(f"{number},{'open' if number % 2 else 'paid'}\n" for number in range(60))


def test_a_contract_is_proposed_from_files_and_they_keep_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [written(tmp_path, "a.csv", CSV), written(tmp_path, "b.csv", CSV.replace("open", "lost"))]
    assert main(["contract", "suggest", *files, "--table", "silver.orders"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# A draft, made from rows")
    path = written(tmp_path, "orders.odcs.yaml", out)
    assert main(["contract", "check", path]) == 0
    table = read_contract_file(path).table("silver.orders")
    assert [(column.name, column.physical_type, column.required) for column in table.columns] == [
        ("id", "long", True),
        ("state", "string", True),
    ]
    assert table.columns[1].allowed_values == ("lost", "open", "paid")


def test_a_contract_is_proposed_from_a_table_of_the_lakehouse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = CatalogSettings("delta", f"file://{tmp_path}/lake")
    table = find("tables", "delta")(settings).table("silver.orders")
    table.create(TableSpec(Schema.of(Column("id", "long"))))
    table.commit(Change(rows=pa.table({"id": [1, 2, 3]}).to_reader()), token=WriteToken("test", 1))
    monkeypatch.setenv("LAKEHOUSE_CATALOG", json.dumps({"format": "delta", "warehouse": settings.warehouse}))
    assert main(["contract", "suggest", "--table", "silver.orders"]) == 0
    assert "unique: true" in capsys.readouterr().out
    assert main(["contract", "suggest", "--table", "silver.items"]) == 2


def test_files_that_make_no_contract_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contract", "suggest", str(tmp_path / "*.csv"), "--table", "t"]) == 2
    assert "There are no files" in capsys.readouterr().err
    files = [written(tmp_path, "a.csv", "id\n1\n"), written(tmp_path, "b.csv", "id\none\n")]
    assert main(["contract", "suggest", *files, "--table", "t"]) == 2
    assert "several types" in capsys.readouterr().err


def test_rows_that_cannot_be_read_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "a.csv", f"{CSV}1,open,2\n")
    assert main(["contract", "suggest", path, "--table", "t"]) == 0
    assert capsys.readouterr().err.startswith("1 rows cannot be read and are left out: ")


def test_a_command_that_cannot_run_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["contract", "diff", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_commands_import_nothing_of_airflow(tmp_path: Path) -> None:
    path = written(tmp_path, "orders.yaml", ORDERS)
    code = (
        "import sys; from airflow_provider_lakehouse.command_line import main; "
        "code = main(['contract', 'check', sys.argv[1]]); assert code == 0; assert 'airflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


def test_the_package_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "airflow_provider_lakehouse", "contract", "--help"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, "check" in done.stdout) == (0, True)

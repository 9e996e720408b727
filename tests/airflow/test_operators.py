"""Operators translate: arguments in, one call of the core, a result out. Run for real, on tables in memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_lakehouse.bridge.tokens import RELOAD_KEY
from airflow_provider_lakehouse.core.errors import DataRejectedError, InvalidRequestError
from airflow_provider_lakehouse.hooks.lakehouse import LakehouseHook
from airflow_provider_lakehouse.operators.check import LakehouseCheckOperator
from airflow_provider_lakehouse.operators.create_table import LakehouseCreateTableOperator
from airflow_provider_lakehouse.operators.ingest_files import LakehouseIngestFilesOperator
from airflow_provider_lakehouse.operators.publish import LakehousePublishOperator
from airflow_provider_lakehouse.operators.query import LakehouseQueryOperator
from airflow_provider_lakehouse.operators.rollback import LakehouseRollbackOperator

Contexts = Callable[..., dict[str, Any]]
Tables = Callable[..., Any]
Rows = Callable[..., list[dict[str, Any]]]
ORDERS = {"id": "long", "amount": "long"}


def query(**options: Any) -> LakehouseQueryOperator:
    usual = {"task_id": "task", "sql": "SELECT id, amount FROM bronze.orders", "reads": ["bronze.orders"]}
    return LakehouseQueryOperator(**usual | options)


class TestCreateTable:
    SPEC = {"columns": ORDERS, "identifier": ("id",), "comments": {"id": "Who"}, "partitioning": ("bucket(4, id)",)}

    def create(self, **options: Any) -> LakehouseCreateTableOperator:
        return LakehouseCreateTableOperator(**{"task_id": "task", "table": "silver.orders", **self.SPEC, **options})

    def test_it_creates_a_table_once(self, warehouse: str, context: Contexts) -> None:
        results = [self.create().execute(context()) for _ in range(2)]
        assert [result["created"] for result in results] == [True, False]
        facts = LakehouseHook().table("silver.orders").facts()
        assert facts.schema.identifier == ("id",)
        assert [str(field) for field in facts.partitioning] == ["bucket(4, id)"]
        assert facts.schema.by_name["id"].comment == "Who"

    def test_it_reports_a_difference_and_changes_nothing(self, warehouse: str, context: Contexts) -> None:
        self.create().execute(context())
        result = self.create(columns=ORDERS | {"note": "string"}).execute(context())
        assert result["plan"]["changes"] == ["add note: string"]
        assert not result["applied"]
        assert LakehouseHook().table("silver.orders").facts().schema.names == ("id", "amount")

    def test_it_applies_differences_on_request_also_two_in_one_run(self, warehouse: str, context: Contexts) -> None:
        self.create().execute(context())
        for columns in (ORDERS | {"note": "string"}, ORDERS | {"note": "string", "more": "date"}):
            assert self.create(columns=columns, on_drift="apply").execute(context())["applied"]
        assert LakehouseHook().table("silver.orders").facts().schema.names == ("id", "amount", "note", "more")

    def test_it_refuses_to_apply_what_needs_a_new_table(self, warehouse: str, context: Contexts) -> None:
        self.create().execute(context())
        with pytest.raises(InvalidRequestError, match="needs a new table"):
            self.create(columns=ORDERS | {"amount": "string"}, on_drift="apply").execute(context())

    def test_it_fails_on_a_difference_when_told_so(self, warehouse: str, context: Contexts) -> None:
        self.create().execute(context())
        with pytest.raises(InvalidRequestError) as failed:
            self.create(columns=ORDERS | {"note": "string"}, on_drift="fail").execute(context())
        assert failed.value.facts["changes"] == ("add note: string",)

    def test_names_that_are_no_columns_are_refused(self, warehouse: str, context: Contexts) -> None:
        with pytest.raises(InvalidRequestError, match="not declared"):
            self.create(required=("idd",)).execute(context())


class TestIngestFiles:
    @pytest.fixture
    def landing(self, tmp_path: Path) -> Path:
        (tmp_path / "a.csv").write_text("id,amount\n1,10\n2,cheap\n")
        (tmp_path / "b.jsonl").write_text('{"id": 3, "amount": 30}\n')
        return tmp_path

    def ingest(self, landing: Path, **options: Any) -> LakehouseIngestFilesOperator:
        usual = {"task_id": "task", "files": f"{landing}/*", "table": "bronze.orders", "columns": ORDERS}
        return LakehouseIngestFilesOperator(**usual | options)

    def test_it_loads_every_file_once(self, warehouse: str, landing: Path, context: Contexts, rows: Rows) -> None:
        results = [self.ingest(landing).execute(context(run_id=run)) for run in ("run-1", "run-1", "run-2")]
        assert [(r["files_loaded"], r["rows_inserted"], r["rows_rejected"]) for r in results] == [(2, 2, 1)] + [
            (0, 0, 0)
        ] * 2
        assert [(r["id"], r["amount"]) for r in rows(LakehouseHook().table("bronze.orders"))] == [(1, 10), (3, 30)]

    def test_refused_rows_are_in_quarantine(self, warehouse: str, landing: Path, context: Contexts, rows: Rows) -> None:
        self.ingest(landing).execute(context())
        (refused,) = rows(LakehouseHook().table("quarantine.rows"))
        assert (refused["reason"], refused["source_row"]) == ("amount: not a long", 3)
        assert refused["pipeline"] == "dag/task/bronze.orders"

    @pytest.mark.parametrize("limit", [{"rows": "0"}, {"share": "{{ 0.1 }}"}])
    def test_too_many_refused_rows_refuse_the_batch(
        self, warehouse: str, landing: Path, context: Contexts, limit: Any
    ) -> None:
        operator = self.ingest(landing, reject_limit=limit)
        operator.render_template_fields(run := context())
        with pytest.raises(DataRejectedError, match="more than the limit"):
            operator.execute(run)
        assert not LakehouseHook().table("quarantine.rows").exists()
        assert self.ingest(landing, reject_limit={"rows": 1}).execute(context())["rows_rejected"] == 1

    @pytest.mark.parametrize("limit", [{}, {"row": 1}, {"share": 2}, {"share": "half"}, {"rows": 1.5}, 5])
    def test_a_limit_that_is_none_is_refused(
        self, warehouse: str, landing: Path, context: Contexts, limit: Any
    ) -> None:
        with pytest.raises(InvalidRequestError):
            self.ingest(landing, reject_limit=limit).execute(context())
        assert not LakehouseHook().table("ledger.files").exists()

    def test_a_file_that_comes_late_is_loaded_then(self, warehouse: str, landing: Path, context: Contexts) -> None:
        self.ingest(landing).execute(context())
        (landing / "late.csv").write_text("id,amount\n4,40\n")
        result = self.ingest(landing).execute(context(run_id="run-2"))
        assert (result["files_loaded"], result["batches"]) == (1, [2])

    def test_a_try_that_died_after_its_commit_is_answered_for_by_the_next(
        self, warehouse: str, landing: Path, context: Contexts
    ) -> None:
        class DiesAtTheEnd(dict):  # type: ignore[type-arg]
            def get(self, key: str, default: Any = None) -> Any:
                if key == "outlet_events":  # asked for when everything is loaded, before Airflow gets the result
                    raise KeyboardInterrupt
                return super().get(key, default)

        first = context()
        with pytest.raises(KeyboardInterrupt):
            self.ingest(landing).execute(DiesAtTheEnd(first))
        result = self.ingest(landing, skip_when_empty=True).execute(first)
        assert (result["batches"], result["files_loaded"]) == ([1], 0)

    @pytest.mark.parametrize("writes", [1, 2])
    def test_a_try_that_dies_around_a_batch_is_answered_for_by_the_next(
        self, warehouse: str, landing: Path, context: Contexts, writes: int
    ) -> None:
        attempt = context()
        store, count = attempt["task_state_store"], itertools.count(1)

        class DiesAfter:
            get = store.get

            def set(self, *arguments: Any, **options: Any) -> None:
                store.set(*arguments, **options)
                if next(count) == writes:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.ingest(landing, max_batch_files=1).execute(attempt | {"task_state_store": DiesAfter()})
        assert self.ingest(landing, max_batch_files=1).execute(attempt)["batches"] == [1, 2]

    def test_a_cleared_task_tells_the_same_batches_and_leaves_later_files_to_the_next_run(
        self, warehouse: str, landing: Path, context: Contexts
    ) -> None:
        run = context()
        self.ingest(landing).execute(run)
        (landing / "late.csv").write_text("id,amount\n4,40\n")
        assert self.ingest(landing).execute(run)["batches"] == [1]
        assert self.ingest(landing).execute(context(run_id="run-2"))["batches"] == [2]

    def test_without_new_files_the_task_can_be_skipped(self, warehouse: str, landing: Path, context: Contexts) -> None:
        self.ingest(landing).execute(context())
        with pytest.raises(AirflowSkipException):
            self.ingest(landing, skip_when_empty=True).execute(context())

    def test_no_file_at_all_creates_no_table(self, warehouse: str, tmp_path: Path, context: Contexts) -> None:
        result = self.ingest(tmp_path / "nothing").execute(context())
        assert result["files_loaded"] == 0
        assert not LakehouseHook().table("bronze.orders").exists()


class TestQuery:
    @pytest.fixture(autouse=True)
    def orders(self, table: Tables) -> Any:
        return table("bronze.orders", ORDERS, (1, 10), (2, -5))

    def test_it_returns_a_few_rows(self, context: Contexts) -> None:
        found = query(sql="SELECT sum(amount) AS total, 1.50 AS price FROM bronze.orders").execute(context())
        assert found == [{"total": "5", "price": "1.50"}]

    def test_it_refuses_to_return_many(self, context: Contexts) -> None:
        with pytest.raises(InvalidRequestError, match="more than 1 rows"):
            query(max_rows=1).execute(context())

    def test_it_loads_once_however_often_it_runs(self, context: Contexts, rows: Rows) -> None:
        results = [query(table="silver.orders").execute(context()) for _ in range(2)]
        assert [result["load"]["commit"]["replayed"] for result in results] == [False, True]
        assert len(rows(LakehouseHook().table("silver.orders"))) == 2

    def test_another_run_loads_again(self, context: Contexts, rows: Rows) -> None:
        for run_id in ("run-1", "run-2"):
            query(table="silver.orders").execute(context(run_id=run_id))
        assert len(rows(LakehouseHook().table("silver.orders"))) == 4

    def test_two_mapped_instances_that_fill_one_table_both_do(self, context: Contexts, rows: Rows) -> None:
        for index, sql in enumerate(("SELECT 1 AS n", "SELECT 2 AS n")):
            query(sql=sql, reads=(), table="silver.numbers").execute(context(map_index=index))
        assert rows(LakehouseHook().table("silver.numbers")) == [{"n": 1}, {"n": 2}]

    def test_a_reload_is_a_write_of_its_own_and_happens_once(self, context: Contexts, rows: Rows) -> None:
        query(table="silver.orders").execute(context(partition_key="d"))
        for _ in range(2):
            again = context(run_id="run-2", partition_key="d", conf={RELOAD_KEY: "prices were wrong"})
            query(table="silver.orders", mode="replace").execute(again)
        table = LakehouseHook().table("silver.orders")
        assert (len(rows(table)), len(table.history())) == (2, 3)

    def test_values_are_parameters_and_names_can_differ(self, context: Contexts) -> None:
        operator = query(
            sql="SELECT id FROM o WHERE amount > $least", reads={"o": "bronze.orders"}, parameters={"least": 0}
        )
        assert operator.execute(context()) == [{"id": 1}]

    def test_a_staged_batch_is_seen_by_nobody_until_it_is_published(self, context: Contexts, rows: Rows) -> None:
        query(table="silver.orders", branch="staged").execute(context())
        table = LakehouseHook().table("silver.orders")
        assert (rows(table), len(rows(table, branch="staged"))) == ([], 2)
        publish = LakehousePublishOperator(task_id="publish", table="silver.orders", branch="staged")
        results = [publish.execute(context(task_id="publish")) for _ in range(2)]
        assert [result["replayed"] for result in results] == [False, True]
        assert len(rows(table)) == 2

    def test_staging_again_after_publication_writes_nothing(self, context: Contexts, rows: Rows) -> None:
        query(table="silver.orders", branch="staged").execute(context())
        LakehousePublishOperator(task_id="publish", table="silver.orders", branch="staged").execute(
            context(task_id="p")
        )
        assert query(table="silver.orders", branch="staged").execute(context())["load"]["commit"]["replayed"]
        assert len(rows(LakehouseHook().table("silver.orders"))) == 2

    def test_more_rows_than_the_limit_allows_are_not_set_aside(self, context: Contexts, rows: Rows) -> None:
        check = {"name": "amount is positive", "condition": "amount > 0", "severity": "quarantine"}
        with pytest.raises(DataRejectedError, match="limit of the batch"):
            query(table="silver.orders", checks=[check], reject_limit={"rows": 0}).execute(context())
        assert not LakehouseHook().table("quarantine.rows").exists()

    def test_rows_that_break_a_check_go_to_quarantine(self, context: Contexts, rows: Rows) -> None:
        check = {"name": "amount is positive", "condition": "amount > 0", "severity": "quarantine"}
        result = query(table="silver.orders", checks=[check]).execute(context())
        (found,) = result["checks"]
        assert (found["name"], found["verdict"], found["violations"], found["rows"]) == (
            "amount is positive",
            "broken",
            1,
            2,
        )
        assert [row["id"] for row in rows(LakehouseHook().table("silver.orders"))] == [1]
        assert [json.loads(r["payload"])["id"] for r in rows(LakehouseHook().table("quarantine.rows"))] == [2]

    @pytest.mark.parametrize("mode", ["append", {"mode": "merge", "keys": ["id"]}, "dedup", "replace"])
    def test_a_check_that_fails_writes_nothing(self, context: Contexts, rows: Rows, mode: Any) -> None:
        check = {"name": "amount is positive", "condition": "amount > 0"}
        with pytest.raises(DataRejectedError) as rejected:
            query(table="silver.orders", checks=[check], mode=mode).execute(context())
        assert rejected.value.facts["checks"] == ("amount is positive: 1",)
        assert rows(LakehouseHook().table("silver.orders")) == []

    def test_a_name_that_rendered_to_nothing_is_refused(self, context: Contexts) -> None:
        with pytest.raises(InvalidRequestError, match="empty after rendering"):
            query(table="silver.orders", quarantine="").execute(context())

    def test_the_link_is_known_after_the_task(self, context: Contexts, warehouse: str) -> None:
        operator = query(table="silver.orders")
        operator.execute(context())
        link, _ = operator.operator_extra_links
        assert link.get_link(operator, ti_key=None) == f"{warehouse}/silver/orders"  # type: ignore[arg-type]


class TestCheck:
    POSITIVE = {"name": "amount is positive", "condition": "amount > 0"}

    def check(self, **options: Any) -> LakehouseCheckOperator:
        usual = {"task_id": "task", "table": "bronze.orders", "checks": [self.POSITIVE]}
        return LakehouseCheckOperator(**usual | options)

    def test_a_table_that_passes_is_reported(self, table: Tables, context: Contexts) -> None:
        table("bronze.orders", ORDERS, (1, 10))
        result = self.check().execute(context())
        assert (result["rows"], result["outcomes"][0]["violations"]) == (1, 0)

    def test_a_table_that_fails_fails_the_task(self, table: Tables, context: Contexts) -> None:
        table("bronze.orders", ORDERS, (1, -1))
        with pytest.raises(DataRejectedError):
            self.check().execute(context())

    def test_a_branch_that_fails_is_dropped_and_can_be_staged_anew(
        self, table: Tables, context: Contexts, rows: Rows
    ) -> None:
        found = table("bronze.orders", ORDERS)
        staging = query(
            sql="SELECT 1::BIGINT AS id, $amount::BIGINT AS amount", reads=(), table="bronze.orders", branch="staged"
        )
        for amount, fails in ((-1, True), (1, False)):
            staging.parameters = {"amount": amount}
            staging.execute(context())
            if fails:
                with pytest.raises(DataRejectedError):
                    self.check(branch="staged").execute(context())
                assert not found.facts().branches
        assert self.check(branch="staged").execute(context())["rows"] == 1

    def test_a_branch_that_fails_can_be_kept(self, table: Tables, context: Contexts) -> None:
        found = table("bronze.orders", ORDERS)
        query(
            sql="SELECT 1::BIGINT AS id, -1::BIGINT AS amount", reads=(), table="bronze.orders", branch="staged"
        ).execute(context())
        with pytest.raises(DataRejectedError):
            self.check(branch="staged", drop_on_failure=False).execute(context())
        assert set(found.facts().branches) == {"staged"}


class TestRollback:
    def test_it_brings_an_older_state_back_once(self, table: Tables, context: Contexts, rows: Rows) -> None:
        found = table("bronze.orders", ORDERS, (1, 10))
        before = found.facts().version
        query(sql="SELECT 2::BIGINT AS id, 5::BIGINT AS amount", reads=(), table="bronze.orders").execute(context())
        for _ in range(2):
            LakehouseRollbackOperator(task_id="task", table="bronze.orders", version=str(before)).execute(
                context(task_id="back")
            )
        assert [row["id"] for row in rows(found)] == [1]
        assert len(found.history()) == 4

    @pytest.mark.parametrize(
        "to", [{}, {"version": "seven"}, {"as_of": "yesterday"}, {"as_of": "2026-01-01"}, {"version": 1, "tag": "x"}]
    )
    def test_where_to_go_back_has_to_be_said_clearly(
        self, table: Tables, context: Contexts, to: dict[str, Any]
    ) -> None:
        table("bronze.orders", ORDERS, (1, 10))
        with pytest.raises(InvalidRequestError):
            LakehouseRollbackOperator(task_id="task", table="bronze.orders", **to).execute(context())

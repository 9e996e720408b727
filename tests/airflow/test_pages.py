"""A task leaves a page about what it found; Airflow's server shows it to those who may see the DAG, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_lakehouse.bridge.pages import URL_PREFIX, PageKey, keep_page, pages_app, read_page
from airflow_provider_lakehouse.core.errors import UnavailableError

Contexts = Callable[..., dict[str, Any]]
RUN = "manual__2026-01-01T00:00:00+00:00"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("AIRFLOW__LAKEHOUSE__QUALITY_PAGES", str(tmp_path / "pages"))
    return tmp_path / "pages"


def test_a_page_is_found_by_the_address_that_its_task_got(pages: Path, context: Contexts) -> None:
    url = urlsplit(keep_page("<p>é</p>", context(run_id=RUN, map_index=3)))
    assert url.path == f"{URL_PREFIX}/page"
    key = {name: value for name, (value,) in parse_qs(url.query).items()}
    found = PageKey(key["dag_id"], key["run_id"], key["task_id"], int(key["map_index"]), int(key["try_number"]))
    assert found == PageKey("dag", RUN, "task", 3, 1)
    assert read_page(found) == "<p>é</p>"


def test_the_address_begins_with_that_of_airflows_server(
    pages: Path, context: Contexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/")
    assert keep_page("", context()).startswith(f"https://airflow.example.com{URL_PREFIX}/page?dag_id=dag&")


def test_every_try_has_a_page_of_its_own(pages: Path, context: Contexts) -> None:
    for number in (1, 2):
        attempt = context()
        attempt["ti"].try_number = number
        keep_page(f"try {number}", attempt)
    assert [read_page(PageKey("dag", "run-1", "task", -1, number)) for number in (1, 2, 3)] == ["try 1", "try 2", None]


def test_without_a_folder_there_are_no_pages(context: Contexts) -> None:
    assert keep_page("<p>", context()) == ""
    assert read_page(PageKey("dag", "run-1", "task", -1, 1)) is None


def test_a_folder_that_cannot_be_written_is_named(context: Contexts, pages: Path) -> None:
    pages.write_text("a file")
    with pytest.raises(UnavailableError, match="quality_pages"):
        keep_page("<p>", context())


@pytest.mark.parametrize("name", ["", "..", "../..", "/etc", ".", "a/../../b"])
def test_no_name_leads_out_of_the_folder(pages: Path, name: str) -> None:
    for key in (PageKey(name, "r", "t", -1, 1), PageKey("d", name, "t", -1, 1), PageKey("d", "r", name, -1, 1)):
        resolved = (pages / key.path).resolve()
        assert resolved.is_relative_to(pages.resolve())
        assert len(resolved.relative_to(pages.resolve()).parts) == 4


@pytest.fixture
def ask(database: Path, pages: Path, context: Contexts, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Ask Airflow's server for the page of a task that left one, as a user of a role, or as nobody."""
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x" * 64)
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "False")
    app = FastAPI()
    manager = init_auth_manager(app)
    app.mount(URL_PREFIX, pages_app)
    keep_page("<p>amount is positive</p>", context())

    def get(role: str | None, **key: str) -> Any:
        user = SimpleAuthManagerUser(username="ann", role=role)
        headers = {"Authorization": f"Bearer {manager.generate_jwt(user)}"} if role != "nobody" else {}
        params = {"dag_id": "dag", "run_id": "run-1", "task_id": "task", **key}
        return TestClient(app).get(f"{URL_PREFIX}/page", params=params, headers=headers)

    return get


@pytest.mark.airflow
def test_who_may_see_the_dag_sees_the_page(ask: Callable[..., Any]) -> None:
    answer = ask("viewer")
    assert (answer.status_code, answer.text) == (200, "<p>amount is positive</p>")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.airflow
@pytest.mark.parametrize(("role", "status"), [("nobody", 401), (None, 403)])
def test_nobody_else_sees_it(ask: Callable[..., Any], role: str | None, status: int) -> None:
    assert ask(role).status_code == status


@pytest.mark.airflow
def test_a_try_without_a_page_has_none(ask: Callable[..., Any]) -> None:
    assert ask("viewer", task_id="another").status_code == 404

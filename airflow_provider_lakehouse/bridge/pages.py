"""Pages about what a task found: written by the task, read through Airflow's own server by whoever may see the DAG."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlencode

from airflow_provider_lakehouse.core.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from airflow.sdk import ObjectStoragePath

URL_PREFIX: Final = "/lakehouse/quality"
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class PageKey:
    """Which try of which task a page is about."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int

    @classmethod
    def of(cls, context: Mapping[str, Any]) -> Self:
        """Return the key of the running task."""
        ti = context["ti"]
        index = ti.map_index if ti.map_index is not None else -1
        return cls(ti.dag_id, ti.run_id, ti.task_id, index, int(getattr(ti, "try_number", 1) or 1))

    @property
    def path(self) -> str:
        """Where the page lies in the folder of pages.

        Example:
            >>> PageKey("retail", "manual__2026-01-01T00:00:00+00:00", "check", 2, 1).path
            'retail/manual__2026-01-01T00%3A00%3A00%2B00%3A00/check/2-1.html'
            >>> PageKey("..", "a/b", "c", -1, 1).path
            '%2E%2E/a%2Fb/c/-1-1.html'
        """
        folders = (self.dag_id, self.run_id, self.task_id)
        return "/".join((*map(_segment, folders), f"{self.map_index}-{self.try_number}.html"))

    @property
    def url(self) -> str:
        """Where Airflow's server shows the page."""
        from airflow.sdk.configuration import conf

        base = conf.get("api", "base_url", fallback="") or ""
        return f"{base.rstrip('/')}{URL_PREFIX}/page?{urlencode(vars(self))}"


def are_kept() -> bool:
    """Tell whether pages are kept: `[lakehouse] quality_pages` names a folder."""
    return _folder() is not None


def keep_page(html: str, context: Mapping[str, Any]) -> str:
    """Write the page of the running task, and return its address.

    Args:
        html: The page.
        context: Airflow's.

    Returns:
        The address; empty where `[lakehouse] quality_pages` names no folder.

    Raises:
        UnavailableError: The folder cannot be written.

    Guarantees:
        Replay: another try has a page of its own.
    """
    folder = _folder()
    if folder is None:
        return ""
    key = PageKey.of(context)
    page = folder / key.path
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(html, encoding="utf-8")
    except OSError as error:
        raise UnavailableError(
            "The page of the task cannot be written. Correct [lakehouse] quality_pages, or empty it.",
            folder=str(folder),
        ) from error
    return key.url


async def pages_app(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """Serve pages, as an ASGI application that imports a web framework only when somebody asks for a page."""
    await _server()(scope, receive, send)


@cache
def _server() -> Any:  # noqa: ANN401
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI, HTTPException
    from fastapi.responses import HTMLResponse

    app = FastAPI(title="Quality of lakehouse tables", docs_url=None, redoc_url=None, openapi_url=None)

    def page(dag_id: str, run_id: str, task_id: str, map_index: int = -1, try_number: int = 1) -> HTMLResponse:
        html = read_page(PageKey(dag_id, run_id, task_id, map_index, try_number))
        if html is None:
            raise HTTPException(404, "There is no page of this try.")
        return HTMLResponse(html, headers=_HEADERS)

    may_see = Depends(requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE))
    app.add_api_route("/page", page, dependencies=[may_see], methods=["GET"], response_model=None)
    return app


def read_page(key: PageKey) -> str | None:
    """Return a page; None where there is none."""
    folder = _folder()
    if folder is None:
        return None
    try:
        return str((folder / key.path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _folder() -> ObjectStoragePath | None:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.configuration import conf

    name = conf.get("lakehouse", "quality_pages", fallback="")
    return ObjectStoragePath(name) if name else None


def _segment(name: str) -> str:
    """Return a name as one part of a path, that never leads elsewhere; no name is no part, which would make it absolute."""
    return quote(name, safe="").replace(".", "%2E") or "%"

"""What Airflow runs of this package by itself: imports before workers are forked, and pages about quality."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl
from airflow.providers.common.compat.sdk import AirflowPlugin, conf

from airflow_provider_lakehouse.bridge.pages import URL_PREFIX, pages_app

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)


class Preload:
    """Imports what `[lakehouse] preload` names when a scheduler starts, so that forked workers have it already.

    A LocalExecutor forks its workers from the scheduler, and they fork a process for each task. What was imported before is
    shared by all of them: a task starts without importing it again, and its memory is used once.

    Guarantees:
        Harmless: a module that cannot be imported is logged and left out; other processes than the scheduler import nothing.
    """

    @hookimpl
    def on_starting(self, component: object) -> None:
        """Import the modules, in the scheduler alone."""
        del component
        if sys.argv[1:2] == ["scheduler"]:
            preload(conf.getlist("lakehouse", "preload", fallback=[]))


def preload(modules: Sequence[str]) -> tuple[str, ...]:
    """Import modules, and return those that were not there before and are now.

    Example:
        >>> preload(["tabnanny", "tabnanny", "no_such_module"])
        ('tabnanny',)
    """
    done = []
    for name in modules:
        if name in sys.modules:  # as in every task of a forked worker
            continue
        try:
            importlib.import_module(name)
        except ImportError as error:
            logger.warning("Module %r of [lakehouse] preload cannot be imported: %s", name, error)
        else:
            done.append(name)
    if done:
        logger.info("Imported for forked workers: %s", ", ".join(done))
    return tuple(done)


class LakehousePlugin(AirflowPlugin):
    """The provider's plugin; Airflow finds it by its entry point."""

    name = "lakehouse"
    listeners = [Preload()]  # noqa: RUF012
    fastapi_apps = [{"name": "Lakehouse quality", "app": pages_app, "url_prefix": URL_PREFIX}]  # noqa: RUF012

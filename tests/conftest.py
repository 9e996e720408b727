"""Settings of every suite."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SERVICES = Path(__file__).parent / "services"

settings.register_profile("project", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("project")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests that need real servers out, unless they are asked for by their folder."""
    asked = any(Path(argument.partition("::")[0]).resolve().is_relative_to(SERVICES) for argument in config.args)
    return True if collection_path == SERVICES and not asked else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need real servers."""
    for item in items:
        if item.path.is_relative_to(SERVICES):
            item.add_marker(pytest.mark.services)

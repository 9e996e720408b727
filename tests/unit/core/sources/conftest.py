"""Where the files of a test land."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .landing import Landing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    folder = tmp_path / "landing"
    folder.mkdir()
    return Landing(folder)

"""The demonstration's Airflow says plainly why it cannot start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from airflow_provider_lakehouse.core.errors import UnavailableError
from airflow_provider_lakehouse.demo.server import AirflowServer, ServerSettings


def test_a_port_that_is_taken_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = AirflowServer(ServerSettings(tmp_path / "home", tmp_path, {}, port=other.getsockname()[1]))
        with pytest.raises(UnavailableError, match=f"Port {server.port} is taken"):
            server.start()
    assert (server.pid, server.settings.home.exists()) == (None, False)

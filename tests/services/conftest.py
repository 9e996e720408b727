"""Makes the real servers known to the tests of this folder."""

from .deployment import deployment
from .fixtures import duckdb_reader, glue_server, mariadb_server, postgres_server, rest_server, s3_server

__all__ = [
    "deployment",
    "duckdb_reader",
    "glue_server",
    "mariadb_server",
    "postgres_server",
    "rest_server",
    "s3_server",
]

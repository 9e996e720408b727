"""Makes the real servers known to the tests of this folder."""

from .fixtures import mariadb_server, postgres_server, s3_server

__all__ = ["mariadb_server", "postgres_server", "s3_server"]

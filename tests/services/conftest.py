"""Makes the real servers known to the tests of this folder."""

from .fixtures import postgres_server, s3_server

__all__ = ["postgres_server", "s3_server"]

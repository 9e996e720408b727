"""A proxy on loopback that passes requests on, and spoils the answer to those a test chooses."""

import contextlib
import http.client
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self

from .process import LOOPBACK

Fate = Literal["answer lost", "answer garbled", "sent twice", "refused", "failed after", "forbidden"]
"""What happens to a request: it is done, and the connection breaks before the answer; it is done, and half of the answer
comes; it is done, and sent once more, and the second answer comes; it is not done, and answered 503; it is done, and answered
502; it is not done, and answered 403."""
TIMEOUT_SECONDS = 30.0


class FaultyProxy:
    """Stands before a server.

    Args:
        port: Of the server.
        spoils: Tells whether a request, by method, path and headers, is one to be spoilt.
    """

    def __init__(self, port: int, *, spoils: Callable[[str, str, Mapping[str, str]], bool]) -> None:
        handler = type("Handler", (_Handler,), {"proxy": self, "target": port})
        self._fates: list[Fate] = []
        self._spoils = spoils
        self._server = ThreadingHTTPServer((LOOPBACK, 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.spoilt = 0

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.server_port

    def spoil(self, *fates: Fate) -> None:
        """Says what happens to the next chosen requests, in order; those after them are served as they should."""
        self._fates.extend(fates)

    def fate_of(self, method: str, path: str, headers: Mapping[str, str]) -> Fate | None:
        """Returns what happens to a request, None when it is served as it should."""
        if not self._fates or not self._spoils(method, path, headers):
            return None
        self.spoilt += 1
        return self._fates.pop(0)

    def __enter__(self) -> Self:
        """Starts it."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    target: int

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fate = self.proxy.fate_of(self.command, self.path, self.headers)
        if fate == "refused":
            self._answer(503, b"")
        elif fate == "forbidden":
            self._answer(403, b'{"__type": "AccessDeniedException", "message": "no"}')
        else:
            self._pass_on(body, fate)

    def _pass_on(self, body: bytes, fate: Fate | None) -> None:
        for _ in range(2 if fate == "sent twice" else 1):
            server = http.client.HTTPConnection(LOOPBACK, self.target, timeout=TIMEOUT_SECONDS)
            with contextlib.closing(server):
                server.request(self.command, self.path, body, dict(self.headers))
                answer = server.getresponse()
                content = answer.read()
        if fate == "answer lost":
            self.close_connection = True
        elif fate == "failed after":
            self._answer(502, b"")
        else:
            self._answer(answer.status, content[: len(content) // 2] if fate == "answer garbled" else content)

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Serves every method alike."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        """Keeps quiet."""

"""The viewer's HTTP server: reachable from this machine only, with a fixed table of routes."""

from __future__ import annotations

import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nephi.errors import NephiError, UsageError
from nephi.report.viewer.pages import Pages, Response

ADDRESS = "127.0.0.1"
DEFAULT_PORT = 80  # of HTTP
HEADERS = {
    # data: and blob: are for NiiVue, which stores its font in a data: address and draws from blobs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self' data: blob:; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
TEXT = "text/plain; charset=utf-8"


class ViewerServer(ThreadingHTTPServer):
    """Serves `pages` on the loopback address, below a random path that other users of the machine cannot guess.

    The path is a secret: never pass the address on a command line, which other users can read. `port` 0 selects a free
    port. Raises `UsageError` for a port that is not available.
    """

    daemon_threads = True  # connections that a browser keeps open must not keep the program running

    def __init__(self, pages: Pages, port: int) -> None:
        self.pages = pages
        self.root = f"/{secrets.token_urlsafe(12)}/"
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"port: expected a port that is available, got {port} ({reason}); 0 selects one") from None

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{ADDRESS}:{self.server_port}{self.root}"


class _Handler(BaseHTTPRequestHandler):
    server: ViewerServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "nephi", ""
    timeout = 60.0

    def do_GET(self) -> None:
        status, response = self._respond()
        self._send(status, response)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.close_connection = True  # the request's body is not read
        self._send(405, _text("expected GET or HEAD"))

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: the page shows its own errors."""

    def _respond(self) -> tuple[int, Response]:
        # Against DNS rebinding: a site whose name resolves to this address still sends that name as its host.
        names = [ADDRESS, "localhost"]
        allowed = [f"{name}:{self.server.server_port}" for name in names]
        if self.server.server_port == DEFAULT_PORT:  # clients omit the default port
            allowed += names
        if self.headers.get_all("Host", []) not in [[name] for name in allowed]:
            return 403, _text(f"Host: expected one of {', '.join(allowed)}")
        path, _, query = self.path.partition("?")
        # Names are compared as received: never decoded, never used as a path of the file system.
        if not path.startswith(self.server.root):
            return 404, _text("not found")
        try:
            response = self.server.pages.respond(path.removeprefix(self.server.root), query)
        except UsageError as error:
            return 400, _text(str(error))
        except (NephiError, OSError) as error:
            return 500, _text(str(error))
        except Exception as error:  # shown on the page, not as a traceback in the terminal
            return 500, _text(" ".join(f"{type(error).__name__}: {error}".split()))
        return (404, _text("not found")) if response is None else (200, response)

    def _send(self, status: int, response: Response) -> None:
        try:
            self.send_response(status)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Type", response.media_type)
            self.send_header("Content-Length", str(len(response.body)))
            if status == 405:
                self.send_header("Allow", "GET, HEAD")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)
        except ConnectionError:  # the browser closed the connection
            self.close_connection = True


def _text(text: str) -> Response:
    return Response(TEXT, text.encode())

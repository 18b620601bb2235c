"""The viewer's server: this machine alone, a table of routes, and nothing that a request could lead astray."""

from __future__ import annotations

import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nephi.errors import NephiError, UsageError
from nephi.report.viewer.pages import Answer, Pages

ADDRESS = "127.0.0.1"
DEFAULT_PORT = 80  # of http
HEADERS = {
    # NiiVue keeps its font as a data: address and makes pictures of blobs; nothing comes from anywhere else.
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
    """Serves `pages` on the loopback address, below a random path: other users of the machine cannot guess it.

    The path is a secret: an address with it belongs on no command line, which they can read. `port` 0 is a free one.
    Raises `UsageError` for a port that cannot be had.
    """

    daemon_threads = True  # a browser keeps connections open; they do not keep the program from ending

    def __init__(self, pages: Pages, port: int) -> None:
        self.pages = pages
        self.root = f"/{secrets.token_urlsafe(12)}/"
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(
                f"port {port}: cannot be listened on ({reason}); choose another, or 0 for a free one"
            ) from None

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
        status, answer = self._answer()
        self._send(status, answer)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.close_connection = True  # whatever was sent along is not read
        self._send(405, _text("only GET and HEAD are answered here"))

    do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_POST

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: the terminal shows the address, and the page its own errors."""

    def _answer(self) -> tuple[int, Answer]:
        # A page of another site whose name was made to point here (DNS rebinding) gives itself away by that name.
        names = [ADDRESS, "localhost"]
        allowed = [f"{name}:{self.server.server_port}" for name in names]
        if self.server.server_port == DEFAULT_PORT:  # which clients leave out
            allowed += names
        if self.headers.get_all("Host", []) not in [[name] for name in allowed]:
            return 403, _text("this server answers to its own address only")
        path, _, query = self.path.partition("?")
        # Names are looked up as they came: neither decoded nor ever made a path of the file system.
        if not path.startswith(self.server.root):
            return 404, _text("not found")
        try:
            found = self.server.pages.answer(path.removeprefix(self.server.root), query)
        except UsageError as error:
            return 400, _text(str(error))
        except (NephiError, OSError) as error:
            return 500, _text(str(error))
        except Exception as error:  # the page shows it; a traceback in the terminal would help nobody
            return 500, _text(" ".join(f"{type(error).__name__}: {error}".split()))
        return (404, _text("not found")) if found is None else (200, found)

    def _send(self, status: int, answer: Answer) -> None:
        try:
            self.send_response(status)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
            if status == 405:
                self.send_header("Allow", "GET, HEAD")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
        except ConnectionError:  # the browser has gone elsewhere
            self.close_connection = True


def _text(text: str) -> Answer:
    return Answer(TEXT, text.encode())

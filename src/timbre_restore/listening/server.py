"""The server of a test: only this machine can reach it, and nothing leaves the machine.

It listens on 127.0.0.1. That does not keep out another web page in the same browser, so every path begins with a random
token that only the printed address contains, requests must name this very server as their host (a DNS name that points
here is refused), and answers must come as JSON from the page itself.
"""

from __future__ import annotations

import errno
import json
import re
import secrets
import socketserver
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from timbre_restore.errors import ListeningError
from timbre_restore.listening.answers import parse_object
from timbre_restore.listening.lock import alone
from timbre_restore.listening.plan import STIMULI, ListeningTest, load_test
from timbre_restore.listening.sessions import Sessions
from timbre_restore.listening.web import page_html

ADDRESS = "127.0.0.1"
USUAL_PORT = 80
LARGEST_BODY = 64 * 1024
IDLE_S = 60.0
_SOUND = re.compile(r"stimuli/([0-9a-f]{16})\.wav")
_HTML, _JSON, _WAV = "text/html; charset=utf-8", "application/json", "audio/wav"


class Refused(Exception):
    """A request that is answered with an error message."""

    def __init__(self, status: HTTPStatus, sentence: str) -> None:
        self.status = status
        super().__init__(sentence)


class ListeningServer(ThreadingHTTPServer):
    """One test on one port; `url` is the address of its page."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, test: ListeningTest, sessions: Sessions, port: int) -> None:
        self.folder, self.sessions = folder, sessions
        self.sounds = frozenset(name for trial in (*test.training, *test.trials) for name in trial.sounds())
        self.token = secrets.token_urlsafe(16)
        self.page = page_html(test.kind).encode()
        super().__init__((ADDRESS, port), _Handler)

    def server_bind(self) -> None:
        """Bind without the name lookup for this machine that the base class would do."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a browser that disconnects in mid-answer; any other error is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


@contextmanager
def open_server(folder: Path, port: int = 0) -> Iterator[ListeningServer]:
    """A server for the test in `folder`, which no other process can serve meanwhile; port 0 picks a free one.

    Raises `ListeningError` if the test is missing or incomplete, or the port or the folder is in use.
    """
    test = load_test(folder)
    sounds = [name for trial in (*test.training, *test.trials) for name in trial.sounds()]
    missing = [name for name in sounds if not (folder / STIMULI / f"{name}.wav").is_file()]
    if missing:
        raise ListeningError(
            f"{folder / STIMULI}: {len(missing)} of {len(sounds)} sounds are missing, such as {missing[0]}.wav; "
            "make the test again."
        )
    with alone(folder), _bound(folder, test, port) as server:
        yield server


def _bound(folder: Path, test: ListeningTest, port: int) -> ListeningServer:
    sessions = Sessions(folder, test)
    try:
        return ListeningServer(folder, test, sessions, port)
    except OSError as exc:
        if exc.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        reason = "is in use" if exc.errno == errno.EADDRINUSE else "may not be used by this user"
        raise ListeningError(f"port {port} {reason}; give another one, or 0 for any free port.") from exc


def hosts_of(port: int) -> list[str]:
    """Accepted Host headers; browsers omit the default port."""
    names = [ADDRESS, "localhost"]
    return [f"{name}:{port}" for name in names] + (names if port == USUAL_PORT else [])


class _Handler(BaseHTTPRequestHandler):
    """One request. Any error is answered with a message as JSON."""

    server: ListeningServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "timbre-restore", ""
    timeout = IDLE_S

    def do_GET(self) -> None:
        try:
            path = self._path()
            if path == "":
                self._send(HTTPStatus.OK, _HTML, self.server.page)
            elif (found := _SOUND.fullmatch(path)) and found[1] in self.server.sounds:
                self._send(HTTPStatus.OK, _WAV, self._sound(found[1]))
            else:
                raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here; go back to the test's page.")
        except Refused as exc:
            self._refuse(exc)

    def do_POST(self) -> None:
        try:
            path = self._path()
            self._check_sender()
            content = self._content()
            try:
                self._send_json(HTTPStatus.OK, self._answer(path, content))
            except ListeningError as exc:
                raise Refused(HTTPStatus.BAD_REQUEST, str(exc)) from exc
        except Refused as exc:
            self._refuse(exc)
        except OSError as exc:
            if isinstance(exc, ConnectionError | TimeoutError):
                raise
            sentence = f"the answer could not be saved ({exc.strerror}); call the person who runs the test."
            self._refuse(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, sentence))

    def _answer(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        if path == "api/begin":
            return self.server.sessions.begin(content.get("code"))
        if path == "api/answer":
            return self.server.sessions.answer(content.get("code", ""), content)
        if path == "api/draft":
            return self.server.sessions.draft(content.get("code", ""), content)
        raise Refused(HTTPStatus.NOT_FOUND, "nothing can be sent to this address; go back to the test's page.")

    def _path(self) -> str:
        """The requested path after the address's token. Raises `Refused` for another host or token."""
        port = self.server.server_port
        if self.headers.get("Host") not in hosts_of(port):
            raise Refused(HTTPStatus.FORBIDDEN, f"this server answers to {ADDRESS}:{port} only; use that address.")
        word, slash, path = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(word.encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "this is not the address that was printed at the start; use that one.")
        return path

    def _check_sender(self) -> None:
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{self.headers['Host']}":
            raise Refused(HTTPStatus.FORBIDDEN, "answers are accepted only from the test's own page.")
        if self.headers.get_content_type() != _JSON:
            raise Refused(HTTPStatus.BAD_REQUEST, f"expected content of type {_JSON}.")

    def _content(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            raise Refused(HTTPStatus.BAD_REQUEST, "expected content with a Content-Length.")
        if len(length) > 9 or int(length) > LARGEST_BODY:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the content is too long; expected at most {LARGEST_BODY} bytes.")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, "the content ended early; send it again.")
        try:
            return parse_object(body)
        except ListeningError as exc:
            raise Refused(HTTPStatus.BAD_REQUEST, f"the content can't be read: {exc}") from exc

    def _sound(self, name: str) -> bytes:
        try:
            return (self.server.folder / STIMULI / f"{name}.wav").read_bytes()
        except OSError as exc:
            raise Refused(HTTPStatus.NOT_FOUND, "this sound is missing; call the person who runs the test.") from exc

    def _refuse(self, refusal: Refused) -> None:
        # The unread rest of the request would be taken for the next one.
        self.close_connection = True
        self._send_json(refusal.status, {"error": str(refusal)})

    def _send_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self._send(status, _JSON, json.dumps(content).encode())

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the base class refuses (a method, a line that is not HTTP) with a message as JSON too."""
        self.close_connection = True
        self._send_json(HTTPStatus(code), {"error": message or HTTPStatus(code).phrase})

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: a line for every sound would be noise."""

"""Listeners that are made up: known true scores, a bias of their own, noise, and two kinds that must be left out."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.voices import RATE, noise, voice
from timbre_restore.audio import write_audio
from timbre_restore.listening import ListeningTest, load_test, pages_of

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = ("zebrafish", "quokka", "narwhal")
"""Words that stand nowhere else, so that a page that told one of them would be found."""

VERB = "import sys; from timbre_restore.apps.entry import main; sys.exit(main(sys.argv[1:]))"

Rate = Callable[[str, np.random.Generator], float]
"""A role's rating by one listener, before it is rounded and kept on the scale."""


def make_sources(folder: Path, count: int, seconds: float = 1.2) -> Path:
    """`clean` and a folder per system: the noisy one, a dull one, and one between."""
    for number in range(count):
        clean = voice(seconds, number)
        noisy = (clean + noise(seconds, number, 0.02)).astype(np.float32)
        spectrum = np.fft.rfft(noisy)
        spectrum[int(4_000 * seconds) :] *= 0.1
        dull = np.fft.irfft(spectrum, len(noisy)).astype(np.float32)
        for name, sound in zip(("clean", *SYSTEMS), (clean, noisy, dull, 0.5 * (noisy + dull)), strict=True):
            write_audio(folder / name / f"talk{number}.wav", sound, RATE)
    return folder


def system_options(sources: Path) -> list[str]:
    return [word for name in SYSTEMS for word in ("--system", f"{name}={sources / name}")]


class Server:
    """`listen serve` as a process, spoken to by HTTP."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        line = [sys.executable, "-W", "error", "-c", VERB, "listen", "serve", str(folder), "--port", str(port)]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise AssertionError(self.process.communicate()[1])
        self.port = int(self.url.split(":")[2].split("/")[0])
        self.base = "/" + self.url.split("/", 3)[3]

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.read(), dict(reply.getheaders())
        finally:
            connection.close()

    def get(self, path: str) -> bytes:
        status, content, _ = self.ask("GET", self.base + path)
        assert status == 200, content
        return content

    def post(self, path: str, content: object) -> tuple[int, dict[str, Any]]:
        body = json.dumps(content).encode()
        status, said, _ = self.ask("POST", self.base + path, body, **{"Content-Type": "application/json"})
        return status, json.loads(said)

    def begin(self, code: str | None = None) -> dict[str, Any]:
        status, plan = self.post("api/begin", {"code": code} if code else {})
        assert status == 200, plan
        return plan

    def stop(self, how: int = signal.SIGINT) -> tuple[int, str]:
        self.process.send_signal(how)
        _, said = self.process.communicate(timeout=10)
        return self.process.returncode, said


@contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[Server]:
    server = Server(folder, port)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def roles(test: ListeningTest) -> dict[str, str]:
    """What each sound is, as only the maker of the test knows."""
    return {name: role for trial in (*test.training, *test.trials) for name, role in trial.sounds().items()}


def slider_answers(plan: Mapping[str, Any], folder: Path, rate: Rate, rng: np.random.Generator) -> Iterator[dict]:
    known = roles(load_test(folder))
    for number, page in enumerate(plan["pages"]):
        ratings = {name: int(np.clip(round(rate(known[name], rng)), 0, 100)) for name in page["rated"]}
        yield {"code": plan["code"], "page": number, "ratings": ratings, "seconds": 3.5}


def pair_answers(plan: Mapping[str, Any], folder: Path, rate: Rate, rng: np.random.Generator) -> Iterator[dict]:
    """`rate` is a role's worth on a scale of its own; a pair's rating is the difference, as heard in its order."""
    known = roles(load_test(folder))
    for number, page in enumerate(plan["pages"]):
        first, second = page["stimuli"]
        rating = int(np.clip(round(rate(known[second], rng) - rate(known[first], rng)), -3, 3))
        yield {"code": plan["code"], "page": number, "ratings": {second: rating}, "seconds": 3.5}


def send_all(server: Server, answers: Iterator[dict]) -> None:
    for answer in answers:
        status, said = server.post("api/answer", answer)
        assert status == 200, said


def orders(folder: Path, listener: int) -> list[tuple[str, ...]]:
    return [page.order for page in pages_of(load_test(folder), listener)]

"""The server of a listening test: this machine alone, nothing lost, nothing told, nothing wrong taken."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.listeners import SYSTEMS, Server, make_sources, orders, send_all, serving, slider_answers
from timbre_restore.apps.cli import main
from timbre_restore.errors import ListeningError
from timbre_restore.listening import ListeningRequest, load_test, make_test, read_answers
from timbre_restore.listening.lock import alone
from timbre_restore.listening.server import hosts_of

JSON = {"Content-Type": "application/json"}
Capture = pytest.CaptureFixture[str]


def new_test(folder: Path, sources: Path, count: int = 2, kind: str = "mushra") -> Path:
    systems = [(name, sources / name) for name in SYSTEMS]
    make_test(ListeningRequest(sources / "clean", systems, kind=kind, count=count, seconds=0.8, seed=5), folder)
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sources(tmp_path_factory.mktemp("sources"), 3)


@pytest.fixture(scope="module")
def folder(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_test(tmp_path_factory.mktemp("tests") / "t", sources)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serving(folder) as running:
        yield running


def steady(role: str, rng: object) -> float:
    return {"hidden reference": 99, "low anchor": 10}.get(role, 60)


def test_nothing_tells_which_system_is_which(server: Server, folder: Path) -> None:
    """Page, plan, addresses, headers, sounds."""
    plan = server.begin()
    told = [server.get(""), json.dumps(plan).encode(), str(server.ask("GET", server.base)[2]).encode()]
    stimuli = [name for page in plan["pages"] for name in (*page["stimuli"], page["reference"])]
    for name in stimuli:
        told.append(server.get(f"stimuli/{name}.wav"))
        headers = server.ask("GET", f"{server.base}stimuli/{name}.wav")[2]
        assert not {"Last-Modified", "ETag"} & set(headers)
        assert headers["Content-Length"] == str(len(told[-1]))
    words = [*SYSTEMS, "hidden", "anchor", "talk", "seed", str(folder)]
    for text in told[1:]:
        assert not [word for word in words if word.encode() in text]
    page = told[0].decode()
    assert not [word for word in (*SYSTEMS, "talk0", "anchor", str(folder)) if word in page]
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page


def test_the_page_may_load_nothing_but_its_own(server: Server) -> None:
    page = server.get("").decode()
    policy = page.partition('content="default-src')[2].partition('"')[0]
    script = page.partition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith(" 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; ")
    assert policy.endswith(f"script-src 'sha256-{digest}'; connect-src 'self'")
    assert page.count("<script") == 1
    assert "src=" not in page.replace("img-src", "").replace("default-src", "")
    assert "prefers-color-scheme: dark" in page
    for band in ("Excellent", "Good", "Fair", "Poor", "Bad"):
        assert f"<span>{band}</span>" in page
    assert "name=&quot;category" not in page
    assert 'type="radio"' not in page  # the other kind's words are not there


def test_order_is_the_plans_own(server: Server, folder: Path) -> None:
    plan = server.begin()
    listener = next(s.listener for s in read_answers(folder, load_test(folder)).sittings if s.code == plan["code"])
    assert [tuple(page["stimuli"]) for page in plan["pages"]] == orders(folder, listener)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "NOBODY"}, "this test has no listener with that code"),
        ({"code": 7}, "this test has no listener with that code"),
        ({"page": 3}, "page 3: expected a page from 0 to 2"),
        ({"page": -1}, "page -1: expected a page"),
        ({"page": True}, "page True: expected a page"),
        ({"page": "0"}, "page '0': expected a page"),
        ({"ratings": {}}, "page 0: expected a rating for each sound of that page and for no other"),
        ({"ratings": [1]}, "page 0: expected a rating for each sound"),
        ({"ratings": "more"}, "page 0: expected a rating for each sound"),
        ({"rating": 101}, "the rating 101 of"),
        ({"rating": -1}, "expected a whole number from 0 to 100"),
        ({"rating": 50.5}, "the rating 50.5 of"),
        ({"rating": True}, "the rating True of"),
        ({"rating": None}, "the rating None of"),
        ({"seconds": -1}, "-1 seconds: expected the time the page took"),
        ({"seconds": "1"}, "'1' seconds"),
    ],
)
def test_answers_that_are_none_are_refused(change: dict, said: str, server: Server, folder: Path) -> None:
    plan = server.begin()
    answer = next(slider_answers(plan, folder, steady, None))  # type: ignore[arg-type]
    if change.get("ratings") == "more":
        change = {"ratings": {**answer["ratings"], "0123456789abcdef": 5}}
    if "rating" in change:
        change = {"ratings": {**answer["ratings"], next(iter(answer["ratings"])): change["rating"]}}
    status, reply = server.post("api/answer", {**answer, **change})
    assert status == 400
    assert said in reply["error"]
    assert (folder / f"answers/{plan['code']}.jsonl").read_bytes().count(b"\n") == 1


def test_content_that_is_none_is_refused(server: Server) -> None:
    target = server.base + "api/answer"
    for body, said in (
        (b"{", "it is not valid JSON"),
        (b"[]", "expected a JSON object"),
        (b'{"page": NaN}', "NaN is not a JSON number"),
        (b"[" * 50_000, "it is not valid JSON"),
        (b"\xff\xfe", "it is not valid JSON"),
        (b" " * 70_000, "expected at most 65536 bytes"),
    ):
        status, reply, _ = server.ask("POST", target, body, **JSON)
        assert (status, said in json.loads(reply)["error"]) == (400, True), reply
    for headers in ({"Content-Type": "text/plain"}, {**JSON, "Transfer-Encoding": "chunked"}):
        assert server.ask("POST", target, b"{}", **headers)[0] == 400
    status, reply, _ = server.ask("POST", server.base + "api/nothing", b"{}", **JSON)
    assert (status, "nothing can be sent to this address" in json.loads(reply)["error"]) == (404, True)
    assert server.ask("DELETE", server.base)[0] == 501


def test_no_path_leads_out(server: Server, folder: Path) -> None:
    for path in (
        "test.json", "../test.json", "stimuli/../test.json", "stimuli/..%2ftest.json", "answers/", "stimuli/",
        "stimuli/0123456789abcdef.wav", "stimuli/%2e%2e/test.json", "/etc/passwd", "stimuli//etc/passwd", "api/begin",
    ):  # fmt: skip
        status, content, _ = server.ask("GET", server.base + path)
        assert (status, set(json.loads(content))) == (404, {"error"}), path


def test_only_this_machine_and_the_printed_address(server: Server) -> None:
    port = server.port
    assert server.url.startswith("http://127.0.0.1:")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=2)
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", ""):
        assert server.ask("GET", server.base, None, Host=host)[0] == 403
        assert server.ask("POST", server.base + "api/begin", b"{}", Host=host, **JSON)[0] == 403
    assert server.ask("GET", server.base, None, Host=f"localhost:{port}")[0] == 200
    assert hosts_of(81) == ["127.0.0.1:81", "localhost:81"]
    assert hosts_of(80) == ["127.0.0.1:80", "localhost:80", "127.0.0.1", "localhost"], "browsers leave 80 out"
    for base in ("/", "/wrong/", server.base[:-2] + "/", "/x" + server.base, "/%00/"):
        status, said, _ = server.ask("POST", base + "api/begin", b"{}", **JSON)
        assert (status, "not the address that was printed" in json.loads(said)["error"]) == (403, True)
    for origin, status in (("http://evil.example", 403), ("null", 403), (f"http://127.0.0.1:{port}", 200)):
        assert server.ask("POST", server.base + "api/begin", b"{}", Origin=origin, **JSON)[0] == status


def test_many_listeners_at_once(server: Server, folder: Path) -> None:
    """Each gets a number of their own, and every answer lands in their own file, whole."""

    def sit(_: int) -> str:
        plan = server.begin()
        send_all(server, slider_answers(plan, folder, steady, None))  # type: ignore[arg-type]
        return plan["code"]

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(sit, range(16)))
    sheet = read_answers(folder, load_test(folder))
    assert sheet.damaged == ()
    numbers = [sitting.listener for sitting in sheet.sittings]
    assert len(set(numbers)) == len(numbers)
    assert {sitting.code for sitting in sheet.sittings if sitting.complete} == set(codes)


def test_a_silent_caller_blocks_nobody(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as idle:
        idle.sendall(b"POST / HTTP/1.1\r\nContent-Le")
        assert len(server.get("")) > 10_000


def test_kill_loses_nothing_and_a_sitting_goes_on(sources: Path, tmp_path: Path) -> None:
    """kill -9 after an answer was confirmed, a line torn by hand, a server anew: the listener goes on where it was."""
    folder = new_test(tmp_path / "t", sources)
    with serving(folder) as server:
        plan = server.begin()
        answers = list(slider_answers(plan, folder, steady, None))  # type: ignore[arg-type]
        for answer in answers[:2]:
            assert server.post("api/answer", answer)[0] == 200
        assert server.stop(signal.SIGKILL)[0] == -signal.SIGKILL
    path = folder / f"answers/{plan['code']}.jsonl"
    with path.open("ab") as file:
        file.write(b'{"page": 2, "rati')
    with serving(folder) as server:
        again = server.begin(plan["code"].lower())
        assert again == {**plan, "answered": [0, 1]}
        assert server.begin()["code"] != plan["code"]
        assert server.post("api/answer", answers[2])[0] == 200
        assert server.post("api/answer", {**answers[0], "seconds": 9})[0] == 200
        status, said = server.stop()
    assert (status, said.splitlines()[-1]) == (0, f"stopped; 3 answers from 2 listeners are in {folder}/answers.")
    assert f"warning: {path}: line 4: it is not valid JSON" in said
    sheet = read_answers(folder, load_test(folder))
    assert [sitting.listener for sitting in sheet.sittings] == [1, 2]
    assert sheet.sittings[0].complete
    assert sheet.sittings[0].answers[0].seconds == 9  # the last one counts
    assert len(sheet.damaged) == 1


def test_a_page_that_was_begun_goes_on_where_it_was(sources: Path, tmp_path: Path) -> None:
    """kill -9 after each touch of a slider: ratings so far come back, count as no answer, and an answer ends them."""
    folder = new_test(tmp_path / "t", sources)
    with serving(folder) as server:
        plan = server.begin()
        code, answers = plan["code"], list(slider_answers(plan, folder, steady, None))  # type: ignore[arg-type]
        assert plan["drafts"] == {}
        assert server.post("api/answer", answers[0])[0] == 200
        first, second, *_ = plan["pages"][1]["rated"]
        for draft in ({first: 3}, {first: 40}, {first: 40, second: 71}):
            assert server.post("api/draft", {"code": code, "page": 1, "draft": draft}) == (200, {"kept": 1})
        late = {"code": code, "page": 0, "draft": {plan["pages"][0]["rated"][0]: 5}}
        assert server.post("api/draft", late)[0] == 200
        server.stop(signal.SIGKILL)
    with serving(folder) as server:
        again = server.begin(code)
        assert again == {**plan, "answered": [0], "drafts": {"1": {first: 40, second: 71}}}
        sheet = read_answers(folder, load_test(folder))
        assert (sheet.damaged, set(sheet.sittings[0].answers)) == ((), {0})
        assert dict(sheet.sittings[0].answers[0].ratings) == answers[0]["ratings"]
        assert server.post("api/answer", answers[1])[0] == 200
        assert server.begin(code) == {**plan, "answered": [0, 1]}
        for wrong, said in (
            ({"page": 99, "draft": {}}, "expected a page from 0"),
            ({"page": 1, "draft": {first: 101}}, "expected a whole number from 0 to 100"),
            ({"page": 1, "draft": {"0" * 16: 1}}, "and for no other"),
            ({"page": 1, "draft": [1]}, "and for no other"),
        ):
            status, reply = server.post("api/draft", {"code": code, **wrong})
            assert status == 400 and said in reply["error"]


def test_an_answer_is_on_the_disk_before_it_is_confirmed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from timbre_restore.listening.answers import append_line

    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_size), fsync(descriptor))
    )
    append_line(tmp_path / "a.jsonl", {"page": 1}, new=True)
    append_line(tmp_path / "a.jsonl", {"page": 2})
    size = (tmp_path / "a.jsonl").stat().st_size
    assert synced[0] * 2 == synced[-1] == size
    with pytest.raises(FileExistsError):
        append_line(tmp_path / "a.jsonl", {"page": 1}, new=True)
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(FileNotFoundError):  # without its first line it could not be read
        append_line(tmp_path / "a.jsonl", {"page": 3})
    assert not (tmp_path / "a.jsonl").exists()


def test_what_is_taken_or_missing_is_a_sentence(
    server: Server, folder: Path, sources: Path, tmp_path: Path, capsys: Capture
) -> None:
    own = new_test(tmp_path / "t", sources, count=1, kind="ccr")

    def refused(place: Path, port: int, said: str) -> None:
        assert main(["listen", "serve", str(place), "--port", str(port)]) == 1
        printed = capsys.readouterr()
        assert said in printed.err
        assert (printed.out, printed.err.count("\n")) == ("", 1)

    refused(own, server.port, f"error: port {server.port} is in use; give another one, or 0 for any free port.")
    refused(folder, 0, f"error: {folder}: is already served by another process")
    served = tmp_path / "served"
    new_test(served, sources, count=1)
    with alone(served), pytest.raises(ListeningError, match="is already served by another process"):
        new_test(served, sources, count=2)
    new_test(served, sources, count=2)
    next((own / "stimuli").iterdir()).unlink()
    refused(own, 0, "sounds are missing")


def test_the_other_kind_has_its_own_page(sources: Path, tmp_path: Path) -> None:
    from timbre_restore.listening.web import page_html

    page = page_html("ccr")
    assert page.count('type="radio"') == 7
    assert "<b>−3</b> Much worse" in page
    assert "Excellent" not in page


def test_a_disk_that_is_full_is_said_to_the_listener(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, because the disk has to fail."""
    import threading

    from timbre_restore.listening import open_server, sessions

    folder = new_test(tmp_path / "t", sources, count=1)
    with open_server(folder) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            host, base = running.url.removeprefix("http://").split("/", 1)

            def full(*_: object, **__: object) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(sessions, "append_line", full)
            connection = http.client.HTTPConnection(host, timeout=5)
            connection.request("POST", f"/{base}api/begin", b"{}", JSON)
            reply = connection.getresponse()
            assert reply.status == 500
            assert "could not be saved (No space left on device)" in json.loads(reply.read())["error"]
            connection.close()
        finally:
            running.shutdown()
            thread.join()

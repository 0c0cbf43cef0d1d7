"""What the READMEs say can be done can be done: commands, options, keys, files, Python; both languages say the same."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from tests.conftest import ROOT
from tests.voices import voice
from timbre_restore.apps import cli
from timbre_restore.config import load_config

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
READMES = pytest.mark.parametrize("readme", [ENGLISH, CHINESE], ids=lambda path: path.name)
NUMBER = re.compile(r"[−-]?\d+(?:[.,]\d+)*")


def blocks(readme: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(readme: Path) -> list[list[str]]:
    """The words of every command in a shell block (pipes, loops and && part them), then of those within sentences."""
    found = []
    for block in blocks(readme, "bash"):
        text = re.sub(r"(?m)\s+#.*$", "", block).replace("\\\n", " ")
        for line in re.split(r"\n|&&|\||;|(?<!&)&(?!&)", text):
            words = shlex.split(line.replace("do python", "python"))
            if words:
                found.append(words)
    sentences = re.sub(r"```.*?```", "", readme.read_text(encoding="utf-8"), flags=re.DOTALL)
    spans = re.findall(r"`(timbre-restore [^`·]+)`", sentences)
    return found + [shlex.split(span) for span in spans]


def options_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words reach in the program, and the words that are left for it."""
    command: Any = typer.main.get_command(cli.build_app())
    rest = list(words)
    while verbs := getattr(command, "commands", {}):
        if rest and rest[0] in verbs:
            command = verbs[rest.pop(0)]
        elif rest[:1] == words[:1]:
            raise AssertionError(f"timbre-restore {' '.join(words)}: no such verb")
        else:
            command = next(iter(verbs.values()))  # of a verb's verbs the first one is meant
    return command, rest


@READMES
def test_every_command_is_there_and_takes_these_options(readme: Path) -> None:
    seen = 0
    for words in commands(readme):
        scripts = {"data/prepare_dataset.py": "prepare", "train.py": "train"}
        script = next((word for word in words if word in scripts), None)
        if words[0] == "timbre-restore":
            own = words[1:]
        elif script:
            own = [scripts[script], *words[words.index(script) + 1 :]]
        else:
            continue
        command, rest = options_of(own)
        known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
        for word in rest:
            if word.startswith("-") and word != "-":
                # The two scripts take underscores as well, which the program makes dashes of.
                name = word.partition("=")[0]
                assert {name, name.replace("_", "-")} & known, f"{' '.join(words)}: {word}"
        sets = [rest[at + 1] for at, word in enumerate(rest) if word == "--set"]
        configs = [rest[at + 1] for at, word in enumerate(rest) if word == "--config"]
        for config in configs:
            load_config(ROOT / config, sets)
        seen += 1
    assert seen > 25  # 23 in blocks, the rest within sentences


@READMES
def test_every_file_that_is_linked_is_there(readme: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", readme.read_text(encoding="utf-8"))
    assert len(links) > 20
    assert not [link for link in links if not (ROOT / link).exists()]
    scripts = {words[0] for words in commands(readme) if words[0].startswith("scripts/")}
    assert scripts >= {"scripts/demo", "scripts/test", "scripts/install"}
    assert not [script for script in scripts if not (ROOT / script).is_file()]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_documents_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    """Headings by the names that web pages give them: small letters, hyphens, no punctuation."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for place, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), place
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{place}#{anchor}"


@READMES
def test_its_python_runs(readme: Path) -> None:
    noisy = voice(1.0, seed=1)
    names: dict[str, object] = {"noisy": noisy, "degraded": 0.5 * noisy, "chunk": noisy[:1234]}
    python = blocks(readme, "python")
    assert len(python) == 2
    for block in python:
        exec(block, names)
    assert len(np.asarray(names["restored"])) == len(noisy)
    assert len(np.asarray(names["samples"])) <= 1234


def test_both_say_the_same() -> None:
    """Command for command, table for table, number for number, link for link."""
    assert commands(CHINESE) == commands(ENGLISH)
    english, chinese = (path.read_text(encoding="utf-8") for path in (ENGLISH, CHINESE))
    assert "](README.zh-CN.md)" in english and "](README.md)" in chinese
    headings = [[line.split()[0] for line in text.splitlines() if line.startswith("#")] for text in (english, chinese)]
    assert headings[0] == headings[1]
    links = [sorted(re.findall(r"\]\(([^)]+)\)", text)) for text in (english, chinese)]
    assert [x for x in links[0] if not x.startswith("README")] == [x for x in links[1] if not x.startswith("README")]
    rows = [[NUMBER.findall(line) for line in text.splitlines() if line.startswith("|")] for text in (english, chinese)]
    assert rows[0] == rows[1]
    figures = [sorted(NUMBER.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL))) for text in (english, chinese)]
    assert figures[0] == figures[1]

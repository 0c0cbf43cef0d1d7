"""A file of named rules: `rules: {over-suppression halved: "osr > 0.5*degraded.osr"}`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from timbre_restore.errors import ScoresError
from timbre_restore.evaluation.gate.rule_parser import nearest
from timbre_restore.strict_yaml import StrictLoader

LARGEST_BYTES = 1_000_000


class _Loader(StrictLoader):
    """A loader that refuses aliases, which can expand without limit."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("holds an alias ('*name'); put the rule in quotes")
        return super().compose_node(parent, index)


def read_rules(path: Path) -> dict[str, str]:
    """Name → rule, in the order of the file. Raises `ScoresError` for anything else, and for a file without rules."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ScoresError(f"{path}: is too large for a file of rules.")
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as exc:
        raise ScoresError(f"{path}: can't be read ({exc.strerror or exc}); give an existing file of rules.") from exc
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        raise ScoresError(f"{path}: is not valid YAML ({' '.join(str(exc).split())}).") from exc
    if not isinstance(content, dict):
        raise ScoresError(f"{path}: expected 'rules:' with names and rules below it.")
    for key in content:
        if key != "rules":
            raise ScoresError(f"{path}: {key}: unknown key; {nearest(str(key), ['rules'])}")
    return _named(path, content.get("rules"))


def _named(path: Path, rules: Any) -> dict[str, str]:
    if not isinstance(rules, dict) or not rules:
        raise ScoresError(f"{path}: holds no rules, and a gate without rules lets everything pass; add one.")
    for name, text in rules.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise ScoresError(f"{path}: rules → {name}: expected a rule in quotes, got {text!r}.")
    return dict(rules)

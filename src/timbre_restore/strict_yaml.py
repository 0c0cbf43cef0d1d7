"""YAML that loses nothing: of two equal keys in a mapping PyYAML keeps the last, and what the first held is gone."""

from __future__ import annotations

from typing import Any

import yaml


class StrictLoader(yaml.SafeLoader):
    """Makes texts, numbers, lists and mappings, and nothing else; refuses a mapping with two equal keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.YAMLError(f"the name '{name}' occurs twice, in line {key.start_mark.line + 1} again")
            seen.add(name)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """What a text holds. Raises `yaml.YAMLError`."""
    try:
        return yaml.load(text, StrictLoader)
    except (ValueError, OverflowError) as exc:  # dates and numbers that are none, which PyYAML lets through
        raise yaml.YAMLError(f"holds a value that is none ({exc})") from exc
    except RecursionError as exc:
        raise yaml.YAMLError("is nested without end") from exc

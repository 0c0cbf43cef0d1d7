"""YAML without silent losses: where a mapping repeats a key, PyYAML would keep the last value and drop the first."""

from __future__ import annotations

from typing import Any

import yaml


class StrictLoader(yaml.SafeLoader):
    """Builds plain values, lists and mappings only; rejects a mapping that repeats a key."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.YAMLError(f"the name '{name}' occurs twice, again in line {key.start_mark.line + 1}")
            seen.add(name)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """The parsed content of `text`. Raises `yaml.YAMLError`."""
    try:
        return yaml.load(text, StrictLoader)
    except (ValueError, OverflowError) as exc:  # invalid dates and numbers, which PyYAML does not report as YAML errors
        raise yaml.YAMLError(f"contains an invalid value ({exc})") from exc
    except RecursionError as exc:
        raise yaml.YAMLError("is nested too deeply") from exc

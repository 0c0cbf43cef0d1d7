"""From files and overrides to a valid configuration, or to every problem at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from timbre_restore.config.schema import Config, expanded
from timbre_restore.errors import ConfigError
from timbre_restore.strict_yaml import parse_yaml

SHOWN_CHARACTERS = 80
_WITHOUT = {"data.ir_path": " (null for no measured rooms)", "data.noise_path": " (null for synthetic noise only)"}
"""How to do without a folder that is optional."""


def load_config(path: Path | None, overrides: Sequence[str] = (), *, folders: Sequence[str] = ()) -> Config:
    """Load `path` (built-in defaults when None), apply `key=value` overrides, validate.

    `folders` names the keys whose paths must be existing folders (`data.sources` stands for each source's path).
    Raises `ConfigError` with all problems at once.
    """
    problems: list[str] = []
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    if path is not None:
        _merge_file(path, merged, origins, problems, chain=())
    for override in overrides:
        _merge_override(override, merged, origins, problems)
    config = None
    try:
        config = Config.model_validate(merged)
    except ValidationError as exc:
        problems += [_describe(error, origins) for error in exc.errors()]
    problems += _missing_folders(merged, folders, origins)
    if problems or config is None:
        raise ConfigError(list(dict.fromkeys(problems)))
    return config


def _merge_file(
    path: Path, into: dict[str, Any], origins: dict[str, str], problems: list[str], chain: tuple[Path, ...]
) -> None:
    resolved = path.resolve()
    if resolved in chain:
        problems.append(f"{path}: 'base' leads back to this file; remove one of the 'base' keys.")
        return
    try:
        content = parse_yaml(path.read_text(encoding="utf-8")) or {}
    except OSError as exc:
        named = f" named as 'base' in {chain[-1]}" if chain else ""
        problems.append(f"{path}{named}: can't be read ({exc.strerror}); name an existing configuration file.")
        return
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        problems.append(f"{path}: is not valid YAML ({' '.join(str(exc).split())}).")
        return
    if not isinstance(content, dict):
        problems.append(f"{path}: expected a mapping of keys to values at the top level, got {type(content).__name__}.")
        return
    base = content.pop("base", None)
    if base is not None:
        _merge_file(path.parent / str(base), into, origins, problems, (*chain, resolved))
    _merge(content, into, origins, str(path), ())


def _merge_override(override: str, into: dict[str, Any], origins: dict[str, str], problems: list[str]) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        problems.append(f"--set {override}: expected key=value, e.g. --set training.batch_size=8.")
        return
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        problems.append(f"--set {override}: the value is not valid YAML; try quoting it.")
        return
    nested: Any = value
    parts = key.strip().split(".")
    for part in reversed(parts):
        nested = {part: nested}
    _merge(nested, into, origins, "--set", ())


def _merge(
    update: Mapping[str, Any], into: dict[str, Any], origins: dict[str, str], origin: str, at: tuple[str, ...]
) -> None:
    """Mappings merge key by key; everything else, lists included, replaces the old value."""
    for key, value in update.items():
        place = (*at, str(key))
        origins[".".join(place)] = origin
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            _merge(value, into.setdefault(key, {}), origins, origin, place)
        else:
            into[key] = value


def _describe(error: Any, origins: Mapping[str, str]) -> str:
    """One sentence for one pydantic error: origin, key, what is wrong, the closest valid name."""
    parts = tuple(str(part) for part in error["loc"])
    key = ".".join(parts)
    longer_first = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    origin = next((origins[place] for place in longer_first if place in origins), "configuration")
    if error["type"] == "extra_forbidden":
        near = _nearest(parts)
        hint = f"; did you mean '{near}'?" if near else f"; expected one of: {', '.join(_names_at(parts[:-1]))}."
        return f"{origin}: {key}: unknown key{hint}"
    if error["type"] == "model_type":
        return (
            f"{origin}: {key}: expected a section with the keys {', '.join(_names_at(parts))}, "
            f"got {_shown(error['input'])}."
        )
    if error["type"] == "value_error":
        return f"{origin}: {key}: {error['ctx']['error']}."
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{origin}: {key}: {message}, got {_shown(error['input'])}."


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _nearest(parts: Sequence[str]) -> str | None:
    """The name that was probably meant: one in the same section, else a full key that ends similarly."""
    here = difflib.get_close_matches(parts[-1], _names_at(parts[:-1]), n=1)
    if here:
        return here[0]
    # Among keys with the same last part, the one nearest to the top level wins.
    keys = sorted(_all_keys(Config), key=lambda key: -key.count("."))
    by_name = {key.rpartition(".")[2]: key for key in keys}
    elsewhere = difflib.get_close_matches(parts[-1], list(by_name), n=1)
    return by_name[elsewhere[0]] if elsewhere else None


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section class inside an annotation such as `Data` or `list[Source]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is not None:
        return next((found for arg in get_args(annotation) if (found := _section_of(arg))), None)
    return None


def _names_at(parts: Sequence[str]) -> list[str]:
    section: type[BaseModel] | None = Config
    for part in parts:
        if part.isdigit() or section is None:
            continue
        field = section.model_fields.get(part)
        section = _section_of(field.annotation) if field else None
    return list(section.model_fields) if section else []


def _all_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        inner = _section_of(field.annotation)
        if inner and get_origin(field.annotation) is not list:
            yield from _all_keys(inner, f"{prefix}{name}.")


def _missing_folders(merged: Mapping[str, Any], keys: Sequence[str], origins: Mapping[str, str]) -> list[str]:
    """Folders that must exist and don't; checked even when the schema has already found problems."""
    problems = []
    for key in keys:
        section, name = key.split(".")
        given = merged.get(section)
        default = getattr(getattr(Config(), section), name)
        value = given.get(name, default) if isinstance(given, Mapping) else default
        entries = value if isinstance(value, list) else [value]
        for index, entry in enumerate(entries):
            folder = entry.get("path") if isinstance(entry, Mapping) else getattr(entry, "path", entry)
            if not isinstance(folder, str | Path) or _is_folder(Path(folder)):
                continue
            place = f"{key}.{index}.path" if isinstance(value, list) else key
            remedy = f"create it or name another with --set '{key}=…'"
            remedy += _WITHOUT.get(key, "")
            problems.append(f"{origins.get(key, 'default')}: {place}: no such folder: {folder}; {remedy}.")
    return problems


def _is_folder(path: Path) -> bool:
    try:
        return expanded(path).is_dir()
    except ValueError:
        return False

"""The configuration: one typed schema, the only source of names, defaults and ranges.

`load_config` merges a YAML file (and the files it is based on) with `--set` overrides, and reports *every* problem at
once: file, key, what was expected, and the nearest right name. Only doors, the command line and tests read the object;
every other room takes plain arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from timbre_restore.errors import ConfigError

Conditioning = Literal["degraded", "degraded+noisy"]


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"expected [low, high] with low ≤ high, got {list(value)}")
    return value


def _listable(value: Path) -> Path:
    if "|" in str(value) or "\n" in str(value):
        raise ValueError("must hold neither '|' nor a line break, because a list's lines are 'degraded|clean'")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
Level = Annotated[float, Field(le=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]

SHOWN_CHARACTERS = 80


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: Any) -> Any:
        # YAML reads yes, no, on and off as switches, and Python would take those for 1 and 0. No key is a switch.
        if isinstance(value, bool):
            raise ValueError(f"got {str(value).lower()}, which is also how YAML reads a bare yes, no, on or off")
        return value


class Source(_Section):
    """A folder of clean speech; the parent folder of a file is its speaker."""

    path: Path
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Share of this source among the recordings, relative to the other sources."""
    pattern: str | None = None
    """File name pattern, e.g. `*_mic1.flac`; every wav and flac below `path` when null."""


class Data(_Section):
    """What the corpus is made of. `num_workers`, `passes` and `output_dir` do not change an item's content."""

    sources: Annotated[list[Source], Field(min_length=1)] = [
        Source(path=Path("/data/VCTK-Corpus-0.92/wav48_silence_trimmed"), weight=0.3, pattern="*_mic1.flac"),
        Source(path=Path("/data/AISHELL-3/train/wav"), weight=0.7),
    ]
    noise_path: Path = Path("/data/noise")
    ir_path: Path | None = Path("/data/rooms")
    """Room impulse responses, read recursively; null for none."""
    output_dir: Annotated[Path, AfterValidator(_listable)] = Path("/data/train_data_lite")
    num_workers: Annotated[int, Field(ge=0)] = 2
    """Worker processes, of preparing and of loading; 0 does the work in the main process."""
    passes: Annotated[int, Field(ge=1)] = 1
    """How often each recording is drawn, each time with other noise, room and levels."""
    sample_rate: Literal[48000] = 48000
    segment: Annotated[int, Field(ge=4800, multiple_of=480)] = 48000
    """Length of an item in samples."""
    snr_db: Range = (-5.0, 40.0)
    speech_level_dbfs: Annotated[tuple[Level, Level], AfterValidator(_ascending)] = (-45.0, -15.0)
    room_probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the speakers, noises and rooms kept for validation, where no list names them."""
    val_speakers: list[str] | None = None
    val_noises: list[str] | None = None
    val_rooms: list[str] | None = None
    """Names (folder, or file name without suffix; `*` allowed) that form the validation side exactly."""
    format: Literal["wav", "flac"] = "wav"


class Suppressor(_Section):
    """The noise suppressor whose output is to be restored."""

    name: Literal["dfn3"] = "dfn3"
    runtime: Literal["official"] = "official"
    attenuation_limit_db: Annotated[float, Field(gt=0, le=100)] = 100.0
    """100 means no limit."""
    post_filter_beta: Annotated[float, Field(ge=0, le=0.1)] = 0.0


class Model(_Section):
    """The generator."""

    name: Literal["unet"] = "unet"
    conditioning: Conditioning = "degraded+noisy"
    bands: Annotated[int, Field(ge=16, multiple_of=16)] = 160
    """Channels of the learned analysis at stride 16."""
    channels: Annotated[list[Annotated[int, Field(ge=8)]], Field(min_length=3, max_length=3)] = [48, 96, 192]
    """Widths at 3000, 600 and 100 frames per second."""
    recurrent: Annotated[int, Field(ge=8)] = 192
    """Width of the bottleneck's recurrence."""


class Discriminators(_Section):
    """What judges the restored voice in the GAN phase."""

    names: Annotated[list[Literal["mpd", "mrd", "msd"]], Field(min_length=1)] = ["mpd", "mrd"]
    periods: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)] = [2, 3, 5, 7, 11]
    windows: Annotated[list[Annotated[int, Field(ge=64)]], Field(min_length=1)] = [2048, 1024, 512]
    channels: Annotated[int, Field(ge=2)] = 32
    """Width of the first layer; the later ones follow from it."""
    loss: Literal["hinge", "lsgan"] = "hinge"


class LossWeights(_Section):
    """Weights by name; a loss at weight 0 is not computed."""

    l1: Annotated[float, Field(ge=0)] = 3.0
    multi_stft: Annotated[float, Field(ge=0)] = 3.0
    adversarial: Annotated[float, Field(ge=0)] = 1.0
    feature_matching: Annotated[float, Field(ge=0)] = 2.0


class Scheduler(_Section):
    """Learning rate: linear warm-up, then a cosine down to `final_factor` of the peak."""

    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    final_factor: Annotated[float, Field(gt=0, le=1)] = 0.02


class Training(_Section):
    """The run."""

    epochs: Annotated[int, Field(ge=1)] = 60
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Items per process and step."""
    gan_start_epoch: Annotated[int, Field(ge=0)] = 15
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    discriminator_learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    betas: tuple[Momentum, Momentum] = (0.8, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    gradient_clip: Annotated[float, Field(gt=0)] = 5.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    loss_weights: LossWeights = LossWeights()
    scheduler: Scheduler = Scheduler()
    mixed_precision: Literal["no", "bf16"] = "no"
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads of the training process; 0 leaves the choice to torch."""
    best_metric: Literal["val_multi_stft", "val_l1"] = "val_multi_stft"
    """The one number that decides which checkpoint is `best`; lower is better."""
    output_dir: Path = Path("runs/default")
    log_every_steps: Annotated[int, Field(ge=1)] = 10
    validation_batches: Annotated[int, Field(ge=0)] = 0
    """At most so many batches of validation per epoch; 0 takes all."""

    @field_validator("mixed_precision", mode="before")
    @classmethod
    def _bare_no(cls, value: Any) -> Any:
        return "no" if value is False else value


class Config(_Section):
    """Everything a command needs to know."""

    seed: Annotated[int, Field(ge=0)] = 0
    data: Data = Data()
    suppressor: Suppressor = Suppressor()
    model: Model = Model()
    discriminators: Discriminators = Discriminators()
    training: Training = Training()


# The keys that decide what the items are; a folder made with other values of them is refused.
CORPUS_KEYS = (
    "sources", "noise_path", "ir_path", "segment", "snr_db", "speech_level_dbfs", "room_probability",
    "val_fraction", "val_speakers", "val_noises", "val_rooms", "format",
)  # fmt: skip


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
        problems.append(f"{path}: 'base' leads back to this file; remove one of the links.")
        return
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as exc:
        named = f" named as 'base' in {chain[-1]}" if chain else ""
        problems.append(f"{path}{named}: can't be read ({exc.strerror}); give an existing configuration file.")
        return
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        problems.append(f"{path}: is not valid YAML ({' '.join(str(exc).split())}).")
        return
    if not isinstance(content, dict):
        problems.append(f"{path}: expected keys and values at the top, got {type(content).__name__}.")
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
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        problems.append(f"--set {override}: the value is not valid YAML; quote it.")
        return
    nested: Any = value
    parts = key.strip().split(".")
    for part in reversed(parts):
        nested = {part: nested}
    _merge(nested, into, origins, "--set", ())


def _merge(
    update: Mapping[str, Any], into: dict[str, Any], origins: dict[str, str], origin: str, at: tuple[str, ...]
) -> None:
    """Mappings merge key by key; everything else, lists included, replaces what was there."""
    for key, value in update.items():
        place = (*at, str(key))
        origins[".".join(place)] = origin
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            _merge(value, into.setdefault(key, {}), origins, origin, place)
        else:
            into[key] = value


def _describe(error: Any, origins: Mapping[str, str]) -> str:
    """One sentence for one pydantic error: origin, key, what is wrong, the nearest right name."""
    parts = tuple(str(part) for part in error["loc"])
    key = ".".join(parts)
    longer_first = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    origin = next((origins[place] for place in longer_first if place in origins), "configuration")
    if error["type"] == "extra_forbidden":
        near = _nearest(parts)
        hint = f"; did you mean '{near}'?" if near else f"; known here: {', '.join(_names_at(parts[:-1]))}."
        return f"{origin}: {key}: unknown key{hint}"
    if error["type"] == "model_type":
        return f"{origin}: {key}: expected keys below it ({', '.join(_names_at(parts))}), got {_shown(error['input'])}."
    if error["type"] == "value_error":
        return f"{origin}: {key}: {error['ctx']['error']}."
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{origin}: {key}: {message}, got {_shown(error['input'])}."


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def _nearest(parts: Sequence[str]) -> str | None:
    """The name that was probably meant: one of the same section, else a whole key that ends alike."""
    here = difflib.get_close_matches(parts[-1], _names_at(parts[:-1]), n=1)
    if here:
        return here[0]
    by_name = {key.rpartition(".")[2]: key for key in _all_keys(Config)}
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
    """Folders that must exist and don't; looked for even when the schema already has complaints."""
    problems = []
    for key in keys:
        section, name = key.split(".")
        given = merged.get(section)
        default = getattr(getattr(Config(), section), name)
        value = given.get(name, default) if isinstance(given, Mapping) else default
        entries = value if isinstance(value, list) else [value]
        for index, entry in enumerate(entries):
            folder = entry.get("path") if isinstance(entry, Mapping) else getattr(entry, "path", entry)
            if folder is None or not isinstance(folder, str | Path) or Path(folder).is_dir():
                continue
            place = f"{key}.{index}.path" if isinstance(value, list) else key
            remedy = f"create it or give another with --set '{key}=…'"
            if key == "data.ir_path":
                remedy += " (null for no rooms)"
            problems.append(f"{origins.get(key, 'default')}: {place}: no such folder: {folder}; {remedy}.")
    return problems

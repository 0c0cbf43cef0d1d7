"""What is judged: the suppressor, and what stands against it. Plain descriptions; a worker opens them for itself.

`identity` names everything that an output follows from besides the item, so that a score may be kept; an empty one is
never kept.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from timbre_restore.audio import Channel, FloatArray, read_mono, sounds_in
from timbre_restore.errors import CorpusError
from timbre_restore.evaluation.curve import mixed_in
from timbre_restore.runtime import Chain, Restorer
from timbre_restore.suppressors import NO_LIMIT_DB, SuppressorSettings, describe_suppressor, load_suppressor

Suppress = Callable[[FloatArray], FloatArray]
"""Noisy float32 `[T]` at 48 kHz to degraded `[T]`, delay removed."""


class Inputs(NamedTuple):
    """What a system is given of an item: float32 `[T]` at 48 kHz, sample n of both the same instant."""

    noisy: FloatArray
    degraded: FloatArray
    stem: str = ""
    channel: Channel | None = None
    """The one that these are of, where the item's files have several."""


Run = Callable[[Inputs], FloatArray]
"""To an output `[T]`."""


class Source(Protocol):
    """What makes the degraded side of items that have none."""

    @property
    def name(self) -> str:
        """The suppressor's."""
        ...

    @property
    def identity(self) -> str: ...

    @property
    def limit_db(self) -> float:
        """Its attenuation limit; `NO_LIMIT_DB` is none."""
        ...

    def open(self) -> Suppress:
        """Load it. Raises `SuppressorError`."""
        ...


class System(Protocol):
    """What turns an item into an output."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    @property
    def foreign(self) -> bool:
        """Somebody else's: a lag of it is recorded and taken out."""
        ...

    @property
    def strength(self) -> float | None:
        """How much of what it could add it adds, where weaker and stronger outputs lie on a line with it."""
        ...

    def open(self) -> Run:
        """Load what it needs, in the process that runs it."""
        ...


def described(settings: SuppressorSettings) -> str:
    """Settings and build: two releases of one suppressor may differ."""
    return f"{settings!r} {describe_suppressor(settings)}"


@dataclass(frozen=True)
class Suppressing:
    """One of the package's suppressors."""

    settings: SuppressorSettings

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def identity(self) -> str:
        return described(self.settings)

    @property
    def limit_db(self) -> float:
        return self.settings.attenuation_limit_db

    def open(self) -> Suppress:
        return load_suppressor(self.settings)


LIMIT = "limit"
DFN3 = "dfn3"
"""The one suppressor that has such limits."""


def is_limit(name: str) -> bool:
    """Whether a system is called as those with a limit are."""
    return re.fullmatch(rf"{LIMIT}\d+(\.\d+)?", name) is not None


@dataclass(frozen=True)
class Limited:
    """The suppressor with an attenuation limit, from its output with none, or with that of `floor_db`.

    libDF mixes the two spectra (`DfTract::process`), and its synthesis is linear: see `curve.mixed_in`.
    """

    limit_db: float
    floor_db: float = NO_LIMIT_DB
    foreign: bool = False
    strength: float | None = None

    @property
    def name(self) -> str:
        return f"{LIMIT}{self.limit_db:g}"

    @property
    def identity(self) -> str:
        return f"{self.name} of {self.floor_db:g}"

    def open(self) -> Run:
        part = np.float32(mixed_in(self.limit_db, self.floor_db))
        return lambda given: part * given.noisy + (np.float32(1.0) - part) * given.degraded


@dataclass(frozen=True)
class Restoring:
    """A model of this package, `model` as `Restorer.load` takes it.

    With `inside` it works in one process with that suppressor, on its own spectrum, as in a call; else behind it.
    """

    name: str
    model: Path | str | None
    strength: float | None
    digest: str
    inside: SuppressorSettings | None = None
    foreign: bool = False

    @classmethod
    def of(
        cls, name: str, model: Path | str | None, strength: float | None, inside: SuppressorSettings | None
    ) -> Restoring:
        """Its strength is the model's own where None is given. Raises what `Restorer.load` raises.

        A model that was trained for another suppressor than `inside` works behind it, as behind a black box.
        """
        restorer = Restorer.load(model)
        if inside is not None and not restorer.suits(inside.name):
            inside = None
        amount = restorer.default_strength if strength is None else strength
        digest = hashlib.sha256(Path(restorer.model.name).read_bytes()).hexdigest()
        return cls(name, model, amount, digest, inside)

    @property
    def identity(self) -> str:
        return f"{self.digest} {self.strength} {described(self.inside) if self.inside else ''}"

    def open(self) -> Run:
        restorer, amount = Restorer.load(self.model), self.strength
        if self.inside is None:
            return lambda given: restorer(given.degraded, given.noisy, strength=amount)
        chain = Chain(load_suppressor(self.inside), restorer)
        return lambda given: chain(given.noisy, strength=amount)


@dataclass(frozen=True)
class Folder:
    """Outputs of whatever made them: files named as the items are."""

    name: str
    folder: Path
    digest: str
    foreign: bool = True
    strength: float | None = None

    @classmethod
    def of(cls, name: str, folder: Path, stems: Sequence[str]) -> Folder:
        """Raises `CorpusError` where there is no such folder, or no output of an item of these names in it."""
        if not folder.is_dir():
            raise CorpusError(f"{folder}: no such folder; give --system NAME=DIR with the outputs of {name}.")
        files = sounds_in(folder)
        if not files:
            raise CorpusError(f"{folder}: holds no sound file; it must hold the outputs of {name}, named as the items.")
        if twice := [stem for stem, count in Counter(file.stem for file in files).items() if count > 1]:
            raise CorpusError(
                f"{folder}: {twice[0]!r} occurs with several suffixes; leave one output of each item there."
            )
        if not {file.stem for file in files} & set(stems):
            raise CorpusError(
                f"{folder}: none of its {len(files)} files is named as an item ({files[0].stem} and the like, where "
                f"{stems[0]} and the like were expected); give the outputs the items' names."
            )
        digest = hashlib.sha256()
        for file in files:
            digest.update(os.fsencode(file.name) + hashlib.sha256(file.read_bytes()).digest())
        return cls(name, folder, digest.hexdigest())

    @property
    def identity(self) -> str:
        return self.digest

    def open(self) -> Run:
        files = {file.stem: file for file in sounds_in(self.folder)}

        def output(given: Inputs) -> FloatArray:
            if given.stem not in files:
                raise MissingOutputError
            return read_mono(files[given.stem], channel=given.channel)

        return output


class MissingOutputError(Exception):
    """A folder holds no output of this item."""

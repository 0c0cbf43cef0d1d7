"""What is judged: the suppressor, and the systems compared with it. Plain descriptions; each worker opens its own.

`identity` names everything besides the item that an output depends on, so that scores can be cached; with an empty
identity they are never cached.
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
    """The channel that these come from, if the item's files have several."""


Run = Callable[[Inputs], FloatArray]
"""Turns inputs into an output `[T]`."""


class Source(Protocol):
    """Makes the degraded side of items that have none."""

    @property
    def name(self) -> str:
        """The suppressor's name."""
        ...

    @property
    def identity(self) -> str: ...

    @property
    def limit_db(self) -> float:
        """Its attenuation limit; `NO_LIMIT_DB` means none."""
        ...

    def open(self) -> Suppress:
        """Load it. Raises `SuppressorError`."""
        ...


class System(Protocol):
    """Turns an item into an output."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    @property
    def foreign(self) -> bool:
        """Whether it is a third-party system, whose lag is recorded and removed."""
        ...

    @property
    def strength(self) -> float | None:
        """Its strength, if its weaker and stronger outputs lie on a line through it; otherwise None."""
        ...

    def open(self) -> Run:
        """Load what it needs, in the process that runs it."""
        ...


def described(settings: SuppressorSettings) -> str:
    """Settings and build, since two releases of one suppressor may differ."""
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
    """Whether a name is one of those used for the suppressor with a limit."""
    return re.fullmatch(rf"{LIMIT}\d+(\.\d+)?", name) is not None


@dataclass(frozen=True)
class Limited:
    """The suppressor with an attenuation limit, made from its output without one or with the limit `floor_db`.

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
    """A model of this package; `model` is what `Restorer.load` accepts.

    With `inside` it works in one process with that suppressor, on its own spectrum, as in a call; otherwise behind it.
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
        """Describe a model; a `strength` of None means the model's own. Raises what `Restorer.load` raises.

        A model trained for a suppressor other than `inside` runs behind it, as behind a black box.
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
    """Outputs of any other program, in files named like the items."""

    name: str
    folder: Path
    digest: str
    foreign: bool = True
    strength: float | None = None

    @classmethod
    def of(cls, name: str, folder: Path, stems: Sequence[str]) -> Folder:
        """Raises `CorpusError` if the folder does not exist or holds no output for any item in `stems`."""
        if not folder.is_dir():
            raise CorpusError(f"{folder}: no such folder; give --system NAME=DIR with the outputs of {name}.")
        files = sounds_in(folder)
        if not files:
            raise CorpusError(f"{folder}: holds no sound files; put the outputs of {name} there, named like the items.")
        if twice := [stem for stem, count in Counter(file.stem for file in files).items() if count > 1]:
            raise CorpusError(f"{folder}: {twice[0]!r} occurs with several suffixes; keep one output per item.")
        if not {file.stem for file in files} & set(stems):
            raise CorpusError(
                f"{folder}: none of its {len(files)} files is named like an item (found {files[0].stem}, for example; "
                f"expected {stems[0]} and so on); give the outputs the items' names."
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
    """A folder holds no output for this item."""

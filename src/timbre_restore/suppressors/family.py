"""The suppressors, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from timbre_restore.errors import SuppressorError
from timbre_restore.suppressors.base import Suppressor, SuppressorSettings
from timbre_restore.suppressors.dfn3 import describe_dfn3, load_dfn3
from timbre_restore.suppressors.dtln import describe_dtln, load_dtln
from timbre_restore.suppressors.rnnoise import describe_rnnoise, load_rnnoise
from timbre_restore.suppressors.spectral_gate import describe_spectral_gate, load_spectral_gate


@dataclass(frozen=True)
class _Member:
    load: Callable[[SuppressorSettings], Suppressor]
    describe: Callable[[SuppressorSettings], str]


_FAMILY = {
    "dfn3": _Member(load_dfn3, describe_dfn3),
    "rnnoise": _Member(load_rnnoise, describe_rnnoise),
    "dtln": _Member(load_dtln, describe_dtln),
    "spectral_gate": _Member(load_spectral_gate, describe_spectral_gate),
}
SUPPRESSORS = tuple(_FAMILY)
"""All names that `load_suppressor` accepts."""


def load_suppressor(settings: SuppressorSettings | str | None = None) -> Suppressor:
    """The suppressor given by `settings` or a name; by default DeepFilterNet3 without limit or post-filter.

    Raises `SuppressorError` when it is unknown, not installed, not the pinned build, or a value is out of range.
    """
    if not isinstance(settings, SuppressorSettings):
        settings = SuppressorSettings(name=settings) if settings else SuppressorSettings()
    return _member(settings.name).load(settings)


def describe_suppressor(settings: SuppressorSettings) -> str:
    """The value of the loaded suppressor's `build`, without opening it. Raises `SuppressorError` like loading does."""
    return _member(settings.name).describe(settings)


def _member(name: str) -> _Member:
    if name not in _FAMILY:
        known = ", ".join(f"'{known}'" for known in SUPPRESSORS)
        raise SuppressorError(f"'{name}' is not a known suppressor; expected one of {known}.")
    return _FAMILY[name]

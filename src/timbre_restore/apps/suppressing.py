"""The suppressor that a configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timbre_restore.config import Config

if TYPE_CHECKING:
    from timbre_restore.suppressors import Suppressor, SuppressorSettings


def settings_of(config: Config) -> SuppressorSettings:
    """The settings that determine the suppressor's output."""
    from timbre_restore.suppressors import SuppressorSettings

    return SuppressorSettings(**config.suppressor.model_dump())


def suppressor_of(config: Config) -> Suppressor:
    """Load the suppressor. Raises `SuppressorError` when it is not installed or not the pinned build."""
    from timbre_restore.suppressors import load_suppressor

    return load_suppressor(settings_of(config))

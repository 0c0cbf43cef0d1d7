"""Fixtures that more than one test file needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real 48 kHz speech, noise and rooms; tests that use it have a generated counterpart."""
    folder = Path(os.environ.get("TIMBRE_SHARED", ROOT.parent / "shared")) / "data"
    if not (folder / "speech").is_dir():
        pytest.skip(f"no real recordings at {folder}; set TIMBRE_SHARED to the folder that holds data/speech")
    return folder

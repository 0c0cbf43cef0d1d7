"""Fixtures that more than one test file needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real 48 kHz speech, noise and rooms: recordings beside the checkout, or where TIMBRE_SHARED says.

    They are not part of the repository; tests that use them have a generated counterpart.
    """
    folder = Path(os.environ.get("TIMBRE_SHARED", ROOT.parent / "shared")) / "data"
    if not (folder / "speech").is_dir():
        pytest.skip(f"no real recordings at {folder}; set TIMBRE_SHARED to the folder that holds data/speech")
    return folder


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained generator as an exported file: whole in every way, except that it has learned nothing."""
    import torch

    from timbre_restore.export import export_generator
    from timbre_restore.models import UNet, UNetSettings

    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = UNet(UNetSettings(bands=32, channels=(8, 8, 16), recurrent=16)).eval().requires_grad_(False)
    return export_generator(generator, tmp_path_factory.mktemp("small_model") / "small.onnx").path

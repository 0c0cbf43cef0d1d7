"""Fixtures that more than one test file needs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.corpora import Nothing, Run, make_sounds, spec_of
from timbre_restore.corpus import CorpusSpec, PrepareSummary, Work, prepare
from timbre_restore.corpus.writing import items as items_module

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Scores that tests keep are no user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("t")))  # what programs that are started leave there
        yield


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> Iterator[None]:
    """A suite that was started in the background ignores Ctrl-C, and so would every program that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
    from timbre_restore.models import GeneratorSettings, make_generator

    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = make_generator(GeneratorSettings(size="tiny"))
    generator.requires_grad_(False)
    return export_generator(generator, tmp_path_factory.mktemp("small_model") / "small.onnx").path


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech, noises and rooms for a small corpus."""
    return make_sounds(tmp_path_factory.mktemp("sounds"))


@pytest.fixture
def quick(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`prepare` in this process with a suppressor that costs nothing, into `tmp_path / 'out'` unless told."""
    monkeypatch.setattr(items_module, "load_suppressor", lambda settings: Nothing())

    def run(out: Path = tmp_path / "out", spec: CorpusSpec | None = None, **settings: Any) -> PrepareSummary:
        return prepare(spec or spec_of(sounds), out, Work(num_workers=0, progress=False, **settings))

    return run


@pytest.fixture(scope="session")
def real(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of all six recordings by the real suppressor, in two worker processes."""
    out = tmp_path_factory.mktemp("real") / "corpus"
    summary = prepare(spec_of(sounds), out, Work(num_workers=2, progress=False))
    assert (summary.takes, summary.skipped, summary.rendered, summary.lists_written) == (6, 0, 6, True)
    assert (summary.items_train, summary.items_val) == (8, 4)
    return out

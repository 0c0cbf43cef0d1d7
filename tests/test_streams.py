"""The exported model while sound arrives: streams equal the whole, behind a black box and in a chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.test_models import network
from tests.voices import RATE, noise, voice
from timbre_restore.audio import HOP_SAMPLES, lag_samples, rms
from timbre_restore.errors import ModelError, SuppressorError
from timbre_restore.export import export_generator
from timbre_restore.models.generator import LOOKAHEAD_SAMPLES
from timbre_restore.models.spectrum import Frames
from timbre_restore.runtime import Chain, ChainStream, Restorer, Stream
from timbre_restore.suppressors import SuppressorSettings, load_suppressor
from timbre_restore.suppressors.df_sequence import DFN3Sequence, SequenceState
from timbre_restore.suppressors.dfn3 import dfn3_archive

FloatArray = NDArray[np.float32]
EQUAL = 1e-5
KINDS = ["spectral:degraded", "spectral:degraded+noisy", "spectral:degraded+noisy+hints", "unet:degraded",
         "unet:degraded+noisy"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(params=KINDS)
def restorer(request: pytest.FixtureRequest, folder: Path) -> Restorer:
    return opened(request.param, folder)


def opened(kind: str, folder: Path, **facts: str) -> Restorer:
    path = folder / f"{kind.replace(':', '_')}{''.join(facts.values())}.onnx"
    if not path.exists():
        export_generator(network(*kind.split(":")), path, metadata={"suppressor": "dfn3", **facts})
    return Restorer.load(path)


def recording(seconds: float = 3.0, seed: int = 0) -> FloatArray:
    """Noisy, of a length that no hop divides, with a pause that the suppressor takes for silence."""
    noisy = voice(seconds, seed) + noise(seconds, seed, level=0.03)
    noisy[48_000:60_000] = 0.0
    return noisy[:-123]


def suppressed(noisy: FloatArray) -> FloatArray:
    return load_suppressor()(noisy)


def in_chunks(stream: Any, *signals: FloatArray, seed: int = 0, longest: int = 5000) -> FloatArray:
    rng, at, out = np.random.default_rng(seed), 0, []
    while at < len(signals[0]):
        stop = at + int(rng.integers(1, longest))
        out.append(stream.push(*(signal[at:stop] for signal in signals)))
        at = stop
    return np.concatenate([*out, stream.flush()])


def given(restorer: Restorer, noisy: FloatArray) -> list[FloatArray]:
    return [noisy] if restorer.needs_noisy else []


@pytest.mark.parametrize("lead", [0, 480, 700, 1440, 3000])
def test_a_stream_equals_the_whole_in_any_chunks(restorer: Restorer, lead: int) -> None:
    """Audio that is `lead` behind noisy, as a suppressor's output is: the same as both aligned from the start."""
    noisy = recording()
    audio = np.concatenate([np.zeros(lead, np.float32), suppressed(noisy)])
    beside = np.concatenate([noisy, np.zeros(lead, np.float32)])
    aligned = np.concatenate([np.zeros(lead, np.float32), noisy])
    whole = restorer(audio, *given(restorer, aligned), strength=0.8)
    stream = restorer.stream(lead, strength=0.8)
    out = in_chunks(stream, audio, *given(restorer, beside))
    assert len(out) == len(audio)
    assert np.max(np.abs(out - whole)) <= EQUAL
    stream.reset()
    assert np.array_equal(in_chunks(stream, audio, *given(restorer, beside)), out)


def test_what_a_stream_holds_back_is_what_it_says(restorer: Restorer) -> None:
    ahead = LOOKAHEAD_SAMPLES if restorer.needs_noisy else restorer.latency_samples
    for lead in (0, 100, 480, 961, 1440):
        stream = restorer.stream(lead)
        expected = max(restorer.latency_samples, -(-(ahead - lead) // HOP_SAMPLES) * HOP_SAMPLES)
        assert stream.held_samples == expected
        hop, returned = np.full(HOP_SAMPLES, 0.1, np.float32), 0
        for hops in range(1, 9):
            returned += len(stream.push(hop, *given(restorer, hop)))
            assert returned == max(0, hops * HOP_SAMPLES - expected)


def test_offline_equals_the_network(restorer: Restorer, folder: Path) -> None:
    meta = restorer.metadata
    net = network(meta["generator"], meta["conditioning"])
    noisy = recording()
    audio = suppressed(noisy)
    first = HOP_SAMPLES if net.domain == "spectrum" else 0  # a segment's frames begin with a hop of the past
    length = -(-len(audio) // HOP_SAMPLES) * HOP_SAMPLES
    degraded, late = np.zeros(first + length, np.float32), np.zeros(first + length + LOOKAHEAD_SAMPLES, np.float32)
    degraded[first : first + len(audio)], late[first : first + len(audio)] = audio, noisy
    expected = net(*(torch.from_numpy(x)[None, None] for x in (degraded, late)))[0, 0, first : first + len(audio)]
    assert np.max(np.abs(restorer(audio, *given(restorer, noisy), strength=1.0) - expected.numpy())) <= EQUAL
    assert rms(expected.numpy() - audio) > 1e-4


def test_many_streams_share_a_model(restorer: Restorer) -> None:
    signals = [recording(1.5, seed) for seed in range(6)]
    streams = [restorer.stream(1440, strength=1.0) for _ in signals]
    parts: list[list[FloatArray]] = [[] for _ in signals]
    for at in range(0, 72_000, 700):
        for stream, signal, out in zip(streams, signals, parts, strict=True):
            chunk = signal[at : at + 700]
            out.append(stream.push(0.5 * chunk, *given(restorer, chunk)))
    for signal, stream, out in zip(signals, streams, parts, strict=True):
        alone = restorer.stream(1440, strength=1.0)
        expected = np.concatenate([alone.push(0.5 * signal, *given(restorer, signal)), alone.flush()])
        assert np.max(np.abs(np.concatenate([*out, stream.flush()]) - expected)) <= EQUAL


def test_a_chain_stream_gives_as_much_as_the_suppressor_alone(restorer: Restorer) -> None:
    """And the sum is the whole, late by the suppressor's delay and nothing more."""
    noisy = recording()
    chain = Chain(load_suppressor(), restorer)
    assert (chain.delay_samples, chain.added_latency_samples) == (1440, 0)
    stream, returned = chain.stream(1.0), 0
    for hops in range(1, 11):
        returned += len(stream.push(noisy[(hops - 1) * HOP_SAMPLES : hops * HOP_SAMPLES]))
        assert returned == hops * HOP_SAMPLES
    out = in_chunks(chain.stream(1.0), noisy)
    whole = chain(noisy, strength=1.0)
    assert len(out) == len(noisy) + chain.delay_samples
    assert np.max(np.abs(out[chain.delay_samples :] - whole)) <= EQUAL
    degraded = suppressed(noisy)
    assert rms(whole - degraded) > 1e-3 * rms(degraded)
    assert lag_samples(whole, degraded) == 0


def test_strength_zero_in_a_chain_is_the_suppressor(restorer: Restorer) -> None:
    noisy = recording()
    chain = Chain(load_suppressor(), restorer)
    assert np.max(np.abs(chain(noisy, strength=0.0) - suppressed(noisy))) <= 1e-6
    full, half = chain(noisy, strength=1.0), chain(noisy, strength=0.5)
    assert np.max(np.abs(half - 0.5 * (full + suppressed(noisy)))) <= 1e-6


@pytest.mark.parametrize("moment", [24_000, 24_001, 24_479])
def test_a_chain_is_causal_hop_by_hop(restorer: Restorer, moment: int) -> None:
    """Inputs equal up to t give delivered samples equal up to the whole hops before t; the next one differs."""
    noisy = recording()[:40_000]
    other = noisy.copy()
    other[moment:] += np.float32(0.05) * np.random.default_rng(1).standard_normal(len(noisy) - moment).astype(
        np.float32
    )
    chain = Chain(load_suppressor(), restorer)
    one, two = (chain.stream(1.0).push(signal) for signal in (noisy, other))
    same = moment // HOP_SAMPLES * HOP_SAMPLES
    assert np.array_equal(one[:same], two[:same])
    assert not np.array_equal(one[same : same + 2 * HOP_SAMPLES], two[same : same + 2 * HOP_SAMPLES])


@pytest.mark.parametrize("conditioning", ["degraded", "degraded+noisy", "degraded+noisy+hints"])
def test_a_chain_equals_the_network_on_the_suppressors_frames(conditioning: str, folder: Path) -> None:
    """What training computes, on the frames that the suppressor had: the restorer sees the same in its product."""
    net, noisy = network("spectral", conditioning), recording()
    suppressor = load_suppressor()
    hops = suppressor.padded(noisy).reshape(-1, HOP_SAMPLES)  # type: ignore[attr-defined]
    out, _ = DFN3Sequence(dfn3_archive(), 100.0, 0.0).stream(hops, SequenceState())
    heard = out.heard
    hints = np.concatenate([out.gains, out.local_snr_db[:, None]], axis=1)[heard]
    chunk = {"degraded": out.spectra[heard], "noisy": out.newest_spectra[heard]}
    tensors = {name: torch.from_numpy(np.stack([x.real, x.imag]))[None] for name, x in chunk.items()}
    tensors["hints"] = torch.from_numpy(hints)[None]
    residual, _ = net.stream({name: tensors[name] for name in net.inputs(1)}, net.initial_state(torch.zeros(1, 1, 1)))
    expected = out.audio.copy()
    expected[heard] += Frames().synthesise(residual["residual"])[0, 0].numpy().reshape(-1, HOP_SAMPLES)
    chain = Chain(suppressor, opened(f"spectral:{conditioning}", folder))
    found = chain(noisy, strength=1.0)
    assert np.max(np.abs(found - expected.reshape(-1)[1440 : 1440 + len(noisy)])) <= EQUAL


def test_another_suppressor_gets_its_waves_restored(folder: Path) -> None:
    noisy, restorer = recording(), opened("spectral:degraded+noisy", folder)
    chain = Chain(load_suppressor(SuppressorSettings(runtime="official")), restorer)
    assert chain.added_latency_samples == HOP_SAMPLES
    expected = restorer(chain.suppressor(noisy), noisy, strength=1.0)
    assert np.array_equal(chain(noisy, strength=1.0), expected)
    with pytest.raises(SuppressorError, match=r"can't be streamed; use suppressor\.name=dfn3"):
        chain.stream()


def test_a_model_for_another_suppressor_is_refused(folder: Path) -> None:
    other = opened("spectral:degraded+noisy", folder, suppressor="rnnoise")
    with pytest.raises(ModelError, match="was trained for the suppressor 'rnnoise', not 'dfn3'"):
        Chain(load_suppressor(), other)
    for several in ("rnnoise, dfn3", ""):
        assert Chain(load_suppressor(), opened("spectral:degraded+noisy", folder, suppressor=several)).streams


@pytest.mark.parametrize("kind", ["spectral:degraded+noisy", "unet:degraded+noisy"])
def test_strength_changes_without_a_click(kind: str, folder: Path) -> None:
    """Neighbouring samples lie no further apart at the change than they do at both strengths."""
    t = np.arange(RATE) / RATE
    tone = (0.2 * np.sin(2 * np.pi * 220 * t)).astype(np.float32)
    stream = opened(kind, folder).stream(0, strength=0.0)
    constant = opened(kind, folder)(0.3 * tone, tone, strength=1.0)
    parts = []
    for hop in range(100):
        if hop == 50:
            stream.strength = 1.0
        chunk = tone[hop * HOP_SAMPLES : (hop + 1) * HOP_SAMPLES]
        parts.append(stream.push(np.float32(0.3) * chunk, chunk))
    out = np.concatenate([*parts, stream.flush()])
    steps, allowed = np.abs(np.diff(out)), max(np.abs(np.diff(constant)).max(), np.abs(np.diff(0.3 * tone)).max())
    assert steps.max() <= 1.1 * allowed
    assert np.max(np.abs(out[55 * HOP_SAMPLES :] - constant[55 * HOP_SAMPLES :])) <= EQUAL
    assert np.array_equal(out[: 45 * HOP_SAMPLES], (np.float32(0.3) * tone)[: 45 * HOP_SAMPLES])


def test_numbers_that_are_none_are_silence_and_leave_no_trace(restorer: Restorer) -> None:
    noisy = recording(2.0)
    spoiled, zeroed = noisy.copy(), noisy.copy()
    spoiled[30_000:30_100], zeroed[30_000:30_100] = np.nan, 0.0
    spoiled[31_000], zeroed[31_000] = np.inf, 0.0
    spoiled[31_005], zeroed[31_005] = -1e25, 0.0  # finite, and its square is not
    streams = [restorer.stream(0, strength=1.0) for _ in range(2)]
    found, expected = (
        in_chunks(stream, 0.5 * x, *given(restorer, x)) for stream, x in zip(streams, (spoiled, zeroed), strict=True)
    )
    assert np.array_equal(found, expected) and np.isfinite(found).all()
    assert streams[0].repaired_samples == 102 * (2 if restorer.needs_noisy else 1)
    chain = Chain(load_suppressor(), restorer)
    one, two = chain.stream(1.0), chain.stream(1.0)
    assert np.array_equal(in_chunks(one, spoiled), in_chunks(two, zeroed))
    assert one.repaired_samples == 102
    with pytest.raises(ModelError, match="NaN"):
        restorer(spoiled, *given(restorer, noisy))
    with pytest.raises(ModelError, match="NaN"):
        chain(spoiled)


def test_misuse_of_a_stream_is_a_sentence(folder: Path) -> None:
    restorer, plain = opened("spectral:degraded+noisy", folder), opened("spectral:degraded", folder)
    chunk = np.zeros(500, np.float32)
    stream = restorer.stream()
    for arguments, words in [
        ((chunk,), "is conditioned on noisy; pass it"),
        ((chunk, chunk[:-1]), "a push needs equally many"),
        ((chunk[None], chunk), "of shape"),
        ((chunk.astype(np.float64), chunk), "float64"),
        ((chunk.tolist(), chunk), "list"),
        ((chunk, chunk.astype(np.int16)), "int16"),
    ]:
        with pytest.raises(ModelError, match=words):
            stream.push(*arguments)
    assert len(stream.push(chunk, chunk)) == 0  # nothing of the refused ones was taken
    with pytest.raises(ModelError, match="takes no noisy; leave it out"):
        plain.stream().push(chunk, chunk)
    assert len(stream.flush()) == 500
    streams: list[Stream | ChainStream] = [stream, Chain(load_suppressor(), restorer).stream()]
    streams[1].flush()
    for ended in streams:
        with pytest.raises(ModelError, match="push after flush"):
            ended.push(chunk)
        with pytest.raises(ModelError, match="flush after flush"):
            ended.flush()
    with pytest.raises(ModelError, match="noisy_lead_samples is -1"):
        restorer.stream(-1)
    with pytest.raises(ModelError, match=r"strength is 1\.5"):
        stream.strength = 1.5
    with pytest.raises(ModelError, match="strength is nan"):
        restorer.stream(0, strength=float("nan"))


def test_nothing_in_nothing_out(restorer: Restorer) -> None:
    empty = np.zeros(0, np.float32)
    assert len(restorer(empty, *given(restorer, empty))) == 0
    assert len(restorer.stream().flush()) == 0
    chain = Chain(load_suppressor(), restorer)
    assert len(chain(empty)) == 0
    assert len(chain.stream().flush()) == 1440


@pytest.mark.slow
def test_ten_minutes_of_a_stream_do_not_drift(folder: Path) -> None:
    """Real length: 60,000 hops through the network in chunks of 1 to 100,000 samples equal one call of it."""
    restorer = opened("spectral:degraded+noisy", folder)
    noisy = np.tile(voice(20.0) + noise(20.0, level=0.03), 30)
    audio = np.float32(0.4) * noisy
    whole = restorer(audio, noisy, strength=1.0)
    out = in_chunks(restorer.stream(1440, 1.0), np.concatenate([np.zeros(1440, np.float32), audio]),
                    np.concatenate([noisy, np.zeros(1440, np.float32)]), longest=100_000)  # fmt: skip
    late = restorer(np.concatenate([np.zeros(1440, np.float32), audio]),
                    np.concatenate([np.zeros(1440, np.float32), noisy]), strength=1.0)  # fmt: skip
    assert len(whole) == 600 * RATE
    assert np.max(np.abs(out - late)) <= EQUAL

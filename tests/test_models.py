"""Networks: what a stream gives, what the gate means, what a discriminator sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.voices import noise, voice
from timbre_restore.audio import HINT_VALUES, HOP_SAMPLES, frames
from timbre_restore.audio.frames import BINS
from timbre_restore.models import (
    CONDITIONINGS,
    Discriminators,
    DiscriminatorSettings,
    GeneratorSettings,
    make_generator,
)
from timbre_restore.models.discriminators import PeriodDiscriminator
from timbre_restore.models.generator import LOOKAHEAD_SAMPLES
from timbre_restore.models.spectral import LOOKAHEAD_FRAMES
from timbre_restore.models.spectrum import Frames
from timbre_restore.models.streaming import (
    AllBandsGRU,
    BandGRU,
    Delay,
    RunningPower,
    StreamingConv1d,
    StreamingConv2d,
    StreamingGRU,
    hop_power,
)
from timbre_restore.models.unet import cosine_basis
from timbre_restore.suppressors.df_sequence import DFN3Sequence, SequenceState
from timbre_restore.suppressors.dfn3 import dfn3_archive

KINDS = [
    ("unet", "degraded"), ("unet", "degraded+noisy"), ("reference", "degraded"), ("reference", "degraded+noisy"),
    *(("spectral", conditioning) for conditioning in CONDITIONINGS),
]  # fmt: skip


def network(name: str = "spectral", conditioning: str = "degraded+noisy", seed: int = 22) -> Any:
    """A small generator whose gate and correction are alive, so that every path shows in the output."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net: Any = make_generator(GeneratorSettings(name, "tiny", conditioning))
        net.eval().requires_grad_(False)
        head = net.heads.conv if name == "reference" else net.heads[-1] if name == "unet" else net.heads
        torch.nn.init.normal_(head.weight, std=0.05)
        torch.nn.init.zeros_(head.bias)  # at first the gate is nearly shut; now it is open here and shut there
    return net


def parts_of(spectra: Any) -> Tensor:
    """Complex `[N, 481]` as a network takes it, `[1, 2, N, 481]`."""
    return torch.from_numpy(np.stack([spectra.real, spectra.imag])).unsqueeze(0)


def sounds(hops: int, batch: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noisy = 0.2 * torch.randn(batch, 1, hops * HOP_SAMPLES + LOOKAHEAD_SAMPLES, generator=generator)
    return 0.5 * noisy[..., : hops * HOP_SAMPLES], noisy


def chunk_of(net: Any, hops: int, seed: int = 0) -> dict[str, Tensor]:
    """What its stream takes for so many hops."""
    generator = torch.Generator().manual_seed(seed)
    chunk = {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in net.inputs(hops).items()}
    if net.domain == "spectrum":
        chunk |= {name: 0.01 * value for name, value in chunk.items() if name != "hints"}
    return chunk


def part(net: Any, chunk: dict[str, Tensor], start: int, stop: int) -> dict[str, Tensor]:
    if net.domain == "spectrum":
        return {n: v[:, start:stop] if n == "hints" else v[:, :, start:stop] for n, v in chunk.items()}
    beyond = {"degraded": 0, "noisy": LOOKAHEAD_SAMPLES}
    return {n: v[..., start * HOP_SAMPLES : stop * HOP_SAMPLES + beyond[n]] for n, v in chunk.items()}


def run(net: Any, chunk: dict[str, Tensor], lengths: list[int]) -> Tensor:
    state, out, at = net.initial_state(torch.zeros(1, 1, 1)), [], 0
    name = "residual" if net.domain == "spectrum" else "restored"
    for hops in lengths:
        given, state = net.stream(part(net, chunk, at, at + hops), state)
        out.append(given[name])
        at += hops
    return torch.cat(out, dim=2)


@pytest.mark.parametrize(("name", "conditioning"), KINDS)
@pytest.mark.parametrize("lengths", [[1] * 250, [7, 100, 1, 142]])
def test_stream_equals_offline(name: str, conditioning: str, lengths: list[int]) -> None:
    net = network(name, conditioning)
    chunk = chunk_of(net, 250)  # longer than the running level's memory of 200 hops
    whole = run(net, chunk, [250])
    assert whole.abs().max() > 1e-4
    assert torch.allclose(run(net, chunk, lengths), whole, atol=1e-5 * max(1.0, float(whole.abs().max())))


@pytest.mark.parametrize(("name", "conditioning"), [k for k in KINDS if "hints" not in k[1]])
@pytest.mark.parametrize("late", [0, 1, 479])
def test_output_depends_on_the_past_hop_by_hop(name: str, conditioning: str, late: int) -> None:
    """Inputs equal up to t give outputs equal up to the whole hops before t, less the latency, and no further."""
    net = network(name, conditioning)
    degraded, noisy = sounds(20)
    moment = 10 * HOP_SAMPLES + late
    other, other_noisy = degraded.clone(), noisy.clone()
    other[..., moment:] += 0.1
    other_noisy[..., moment + LOOKAHEAD_SAMPLES :] += 0.1
    one, two = net(degraded, noisy), net(other, other_noisy)
    same = moment // HOP_SAMPLES * HOP_SAMPLES - net.latency_samples
    assert torch.equal(one[..., :same], two[..., :same])
    assert not torch.equal(one[..., same : same + 2 * HOP_SAMPLES], two[..., same : same + 2 * HOP_SAMPLES])


@pytest.mark.parametrize("name", ["unet", "reference", "spectral"])
def test_noisy_is_used_up_to_its_lookahead(name: str) -> None:
    net = network(name)
    degraded, noisy = sounds(20)
    later = noisy.clone()
    later[..., 10 * HOP_SAMPLES + LOOKAHEAD_SAMPLES - 240] += 1.0
    changed = (net(degraded, noisy) - net(degraded, later)).abs()[0, 0]
    assert changed[: 9 * HOP_SAMPLES].max() == 0
    assert changed[9 * HOP_SAMPLES : 10 * HOP_SAMPLES].max() > 0


def test_open_gate_gives_the_noisy_back_and_shut_gate_the_degraded() -> None:
    degraded, noisy = sounds(20)
    for name, bands in (("unet", network("unet").bands), ("spectral", 1)):
        net = network(name)
        head = net.heads[-1] if name == "unet" else net.heads
        head.weight.zero_()
        head.bias.zero_()
        head.bias[:bands] = 30.0
        first = net.latency_samples  # the first hop of a segment lacks a frame
        assert torch.allclose(net(degraded, noisy)[..., first:], noisy[..., first : degraded.shape[-1]], atol=1e-5)
        head.bias[:bands] = -30.0
        assert torch.allclose(net(degraded, noisy), degraded, atol=1e-6)


@pytest.mark.parametrize(("name", "bands"), [("unet", 20 * 30 * 96), ("spectral", 20 * BINS)])
def test_gate_lies_between_shut_and_open(name: str, bands: int) -> None:
    net = network(name)
    out, _ = net.stream(chunk_of(net, 20), net.initial_state(torch.zeros(1, 1, 1)))
    gate = out["gate"]
    assert gate.numel() == bands
    assert 0 < gate.min() < 0.5 < gate.max() < 1


@pytest.mark.parametrize("name", ["unet", "spectral"])
def test_restoring_scales_with_the_voice(name: str) -> None:
    """Features are relative to the running level, so a quieter recording is restored alike (above the floor).

    Less so at first: noisy is heard two frames before there is a level.
    """
    net = network(name)
    degraded, noisy = sounds(50)
    loud, quiet = net(degraded, noisy), net(0.1 * degraded, 0.1 * noisy)
    error = (0.1 * loud - quiet).abs() / quiet.abs().max()
    assert error.max() < 0.03
    assert error[..., 3 * HOP_SAMPLES :].max() < 0.005


def test_training_starts_near_the_suppressor_and_clean_passes() -> None:
    """Untrained, the gate is nearly shut; where nothing was taken, next to nothing can come back."""
    torch.manual_seed(0)
    net: Any = make_generator(GeneratorSettings("spectral", "tiny"))
    degraded, noisy = sounds(20)
    moved = (net(degraded, noisy) - degraded).norm() / (noisy[..., : degraded.shape[-1]] - degraded).norm()
    assert 0.02 < moved < 0.3
    clean = noisy[..., : degraded.shape[-1]]
    assert (net(clean, noisy) - clean).norm() / clean.norm() < 0.05


@pytest.mark.parametrize("name", ["unet", "reference", "spectral"])
def test_missing_noisy_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the noisy signal is missing"):
        network(name)(sounds(2)[0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (GeneratorSettings(name="vnet"), "'vnet' is not known; expected one of spectral, unet, reference"),
        (GeneratorSettings(size="huge"), "'huge' is not known; expected one of tiny, small, base"),
        (GeneratorSettings(conditioning="clean"), "'clean' is not known"),
        (GeneratorSettings("unet", "tiny", "degraded+noisy+hints"), "takes no hints"),
    ],
)
def test_unknown_generators_are_refused(settings: GeneratorSettings, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_generator(settings)


def test_frames_in_torch_are_those_of_the_suppressor() -> None:
    hops = (voice(1.0) + noise(1.0)).reshape(-1, HOP_SAMPLES)
    expected = frames.analyse(hops[1:], hops[0])
    torch_frames = Frames()
    found = torch_frames.analyse(torch.from_numpy(hops.reshape(1, 1, -1)))
    assert torch.allclose(found, parts_of(expected), rtol=0.0, atol=1e-7)
    audio, _ = frames.synthesise(expected, np.zeros(HOP_SAMPLES, np.float32))
    back = torch_frames.synthesise(found)[0, 0].numpy()
    assert np.max(np.abs(back - audio.reshape(-1))) < 1e-6
    assert np.max(np.abs(back[HOP_SAMPLES:] - hops[1:-1].reshape(-1))) < 1e-6


@pytest.mark.parametrize(("limit", "beta"), [(100.0, 0.0), (24.0, 0.0), (100.0, 0.03), (12.0, 0.05)])
def test_stored_hints_make_the_suppressors_spectrum_again(limit: float, beta: float) -> None:
    """From gains and low bins, and the noisy frame: what the suppressor had before synthesis, whatever its settings."""
    noisy = voice(1.0, 3) + noise(1.0, 3, level=0.03)
    hops = noisy.reshape(-1, HOP_SAMPLES)
    out, _ = DFN3Sequence(dfn3_archive(), limit, beta).stream(hops, SequenceState())
    assert out.heard.all()
    low = np.ascontiguousarray(out.spectra[:, :96]).view(np.float32)
    hints = np.concatenate([out.gains, out.local_snr_db[:, None], low], axis=1)[None]
    noisy_parts, parts = parts_of(out.noisy_spectra), parts_of(out.spectra)
    made = Frames().suppressed(noisy_parts, torch.from_numpy(hints), torch.zeros_like(parts))
    assert hints.shape[-1] == HINT_VALUES
    error = (made - parts)[..., :480].abs().max() / parts.abs().max()  # 24 kHz: the post-filter's own rule
    assert error < 1e-5
    nothing = torch.full_like(torch.from_numpy(hints), float("nan"))
    assert torch.equal(Frames().suppressed(noisy_parts, nothing, parts), parts)


def test_a_segment_is_restored_as_the_chain_would() -> None:
    """`forward` on stored hints is `residual` on the suppressor's own frames."""
    net = network()
    noisy = voice(1.5, 5) + noise(1.5, 5, level=0.05)
    hops = noisy.reshape(-1, HOP_SAMPLES)
    out, _ = DFN3Sequence(dfn3_archive(), 100.0, 0.0).stream(hops, SequenceState())
    first, count = 20, 100  # a segment in the middle: row n is the frame of hops n - 3 and n - 2
    rows = slice(first + 3, first + 3 + count)
    low = np.ascontiguousarray(out.spectra[rows, :96]).view(np.float32)
    hints = torch.from_numpy(np.concatenate([out.gains[rows], out.local_snr_db[rows, None], low], axis=1))[None]
    degraded = torch.from_numpy(out.audio[rows].reshape(1, 1, -1).copy())
    whole = torch.from_numpy(hops[first : first + count + 3].reshape(1, 1, -1).copy())
    spectra, given = (
        parts_of(x) for x in (out.spectra[rows], out.noisy_spectra[first + 3 : first + 3 + count + LOOKAHEAD_FRAMES])
    )
    residual, gate = net.residual(spectra, given)
    expected = degraded + Frames().synthesise(residual)
    assert torch.allclose(net(degraded, whole, hints), expected, atol=1e-5)
    assert gate.shape == (1, 1, count, BINS)
    assert not torch.allclose(net(degraded, whole), expected, atol=1e-4)  # behind a black box the frames are blurred


def test_cosine_basis_is_orthonormal() -> None:
    basis = cosine_basis(32)
    assert torch.allclose(basis @ basis.T, torch.eye(32), atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), 1), ((1, 5), 2), ((2, 1), 1)])
def test_convolution_over_bands_equals_its_written_out_sum(kernel: tuple[int, int], stride: int) -> None:
    torch.manual_seed(0)
    layer = StreamingConv2d(2, 3, kernel, bands=8, stride=stride).requires_grad_(False)
    x = torch.randn(1, 2, 5, 8)
    out, state = layer(x, layer.initial_state(x))
    expected = torch.zeros(1, 3, 5, 8 // stride)
    for o, t, f in np.ndindex(3, 5, 8 // stride):
        total = layer.conv.bias[o].clone()
        for i, k, b in np.ndindex(2, *kernel):
            when, band = t - (kernel[0] - 1 - k), f * stride + b - kernel[1] // 2
            if when >= 0 and 0 <= band < 8:
                total += layer.conv.weight[o, i, k, b] * x[0, i, when, band]
        expected[0, o, t, f] = total
    assert torch.allclose(out, expected, atol=1e-5)
    assert torch.equal(state, x[:, :, 5 - layer.context :])


def as_rows(x: Tensor) -> Tensor:
    """`[B, C, N, F]` to rows `[N·B·F, C]`: time, then signal, then band."""
    return x.permute(2, 0, 3, 1).reshape(-1, x.shape[1])


def test_recurrence_per_band_treats_all_bands_alike() -> None:
    torch.manual_seed(0)
    layer = BandGRU(3, 4, bands=5).requires_grad_(False)
    x = torch.randn(2, 3, 7, 5)
    out, state = layer(as_rows(x), layer.initial_state(x))
    assert state.shape == (1, 10, 4)
    by_band = out.reshape(7, 2, 5, 3)
    order = torch.tensor([3, 1, 4, 0, 2])
    mixed, _ = layer(as_rows(x[..., order]), layer.initial_state(x))
    assert torch.allclose(mixed.reshape(7, 2, 5, 3), by_band[:, :, order], atol=1e-6)
    alone, _ = layer.gru(x[1, :, :, 2].T)
    assert torch.allclose(by_band[:, 1, 2], x[1, :, :, 2].T + layer.out(alone), atol=1e-6)


def test_recurrence_over_all_bands_hears_one_signal_alone() -> None:
    torch.manual_seed(0)
    layer = AllBandsGRU(3, 2, 6, bands=5).requires_grad_(False)
    x = torch.randn(2, 3, 7, 5)
    out, state = layer(as_rows(x), layer.initial_state(x))
    alone, last = layer(as_rows(x[1:]), layer.initial_state(x[1:]))
    assert torch.allclose(out.reshape(7, 2, 5, 3)[:, 1], alone.reshape(7, 5, 3), atol=1e-6)
    assert torch.allclose(state[:, 1:], last, atol=1e-6)
    seen = (x[1].permute(1, 2, 0) @ layer.narrow.weight.T + layer.narrow.bias).flatten(1)  # [7, 5 bands · 2]
    expected = x[1].permute(1, 2, 0) + layer.spread(layer.widen(layer.gru(seen)[0]).reshape(7, 5, 2))
    assert torch.allclose(alone.reshape(7, 5, 3), expected, atol=1e-6)


def test_delay_gives_what_was() -> None:
    layer = Delay(2, 1, 3)
    x = torch.arange(12.0).reshape(1, 1, 4, 3)
    first, state = layer(x[:, :, :1], layer.initial_state(x))
    second, state = layer(x[:, :, 1:], state)
    late = torch.cat([first[:, :, :1], second[:, :, :3]], dim=2)
    assert torch.equal(late, torch.cat([torch.zeros(1, 1, 2, 3), x[:, :, :2]], dim=2))
    assert torch.equal(state, x[:, :, 2:])


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 1, 3), (10, 5, 1), (12, 6, 1)])
def test_convolution_equals_its_written_out_sum(kernel: int, stride: int, dilation: int) -> None:
    torch.manual_seed(0)
    layer = StreamingConv1d(2, 3, kernel, stride=stride, dilation=dilation).requires_grad_(False)
    x = torch.randn(1, 2, 60)
    out, state = layer(x, layer.initial_state(x))
    expected = torch.zeros(1, 3, 60 // stride)
    for o in range(3):
        for t in range(60 // stride):
            total = layer.conv.bias[o].clone()
            for i in range(2):
                for k in range(kernel):
                    at = t * stride + (stride - 1) - (kernel - 1 - k) * dilation
                    total += layer.conv.weight[o, i, k] * (x[0, i, at] if at >= 0 else 0.0)
            expected[0, o, t] = total
    assert torch.allclose(out, expected, atol=1e-5)
    assert torch.equal(state, x[..., 60 - layer.context :])


def test_recurrence_carries_its_state() -> None:
    layer = StreamingGRU(4, 5).requires_grad_(False)
    x = torch.randn(2, 4, 20)
    whole, last = layer(x, layer.initial_state(x))
    first, state = layer(x[..., :7], layer.initial_state(x))
    second, state = layer(x[..., 7:], state)
    assert torch.allclose(torch.cat([first, second], dim=-1), whole, atol=1e-6)
    assert torch.allclose(state, last, atol=1e-6)


def test_running_power_follows_a_tone_from_its_first_hop() -> None:
    power = RunningPower()
    tone = 0.1 * torch.ones(1, 1, 300 * HOP_SAMPLES)
    values, _ = power(hop_power(tone), power.initial_state(tone))
    assert torch.allclose(values, torch.full_like(values, 0.01), rtol=1e-4)
    silent, _ = power(0.0 * hop_power(tone), power.initial_state(tone))
    assert torch.equal(silent, torch.full_like(silent, power.floor))
    tone[..., 150 * HOP_SAMPLES :] = 0.0
    falling, _ = power(hop_power(tone), power.initial_state(tone))
    # 0.7 s of silence take the power to 1 / e of itself, less the bias correction.
    assert falling[0, 0, 149] > falling[0, 0, 219] > 0.16 * falling[0, 0, 149]
    assert (falling.diff()[..., 150:] <= 0).all()


@pytest.mark.parametrize(("length", "rows"), [(12, 4), (13, 5), (48_000, 16_000)])
def test_period_folding_pads_only_to_the_next_whole_period(length: int, rows: int) -> None:
    folded = PeriodDiscriminator(3, 2).fold(torch.arange(length, dtype=torch.float32)[None, None])
    assert folded.shape == (1, 1, rows, 3)
    assert torch.equal(folded.flatten()[:length], torch.arange(length, dtype=torch.float32))


def test_each_discriminator_answers_with_features() -> None:
    settings = DiscriminatorSettings(names=("mpd", "mrd", "msd"), periods=(2, 3), windows=(512,), channels=4)
    verdicts = Discriminators(settings)(torch.randn(2, 1, 4800))
    assert len(verdicts) == 2 + 1 + 3
    for verdict in verdicts:
        assert verdict.score.shape[0] == 2
        assert len(verdict.features) == 4
        assert all(feature.shape[0] == 2 for feature in verdict.features)


def _heard(seeds: range) -> tuple[torch.Tensor, torch.Tensor]:
    """Voices `[B, 1, T]`, and the same with half of what they have above 4 kHz, where nearly nothing of them lies."""
    clean = np.stack([voice(0.25, seed=seed) for seed in seeds])
    spectrum = np.fft.rfft(clean)
    spectrum[:, 1000:] *= 0.5
    taken = np.fft.irfft(spectrum, clean.shape[1]).astype(np.float32)
    return torch.from_numpy(clean)[:, None], torch.from_numpy(taken)[:, None]


def test_each_discriminator_learns_to_hear_what_is_quiet() -> None:
    torch.manual_seed(0)
    judges = Discriminators(
        DiscriminatorSettings(names=("mpd", "mrd", "msd"), periods=(2, 3), windows=(512,), channels=8)
    )
    optimizer = torch.optim.AdamW(judges.parameters(), lr=1e-3, betas=(0.8, 0.99))
    clean, taken = _heard(range(32))
    for step in range(60):
        at = torch.arange(4) + 4 * (step % 8)
        loss = torch.stack([
            F.relu(1 - a.score).mean() + F.relu(1 + b.score).mean()
            for a, b in zip(judges(clean[at]), judges(taken[at]), strict=True)
        ]).sum()  # fmt: skip
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    clean, taken = _heard(range(100, 108))
    with torch.no_grad():
        pairs = zip(judges.members, judges(clean), judges(taken), strict=True)
        apart = {name: float((a.score.flatten(1).mean(1) - b.score.flatten(1).mean(1)).min()) for name, a, b in pairs}
    assert min(apart.values()) > 0.02, apart  # in each of eight voices that it never heard


def test_unknown_discriminator_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown discriminator 'mdp'"):
        Discriminators(DiscriminatorSettings(names=("mdp",)))


@pytest.mark.parametrize("name", ["spectral", "unet", "reference"])
def test_spans_one_after_another_are_the_whole(name: str) -> None:
    """A long segment in spans, each from the memory that the one before left, is the segment in one."""
    hints = "+hints" if name == "spectral" else ""
    torch.manual_seed(1)
    net = make_generator(GeneratorSettings(name, "tiny", f"degraded+noisy{hints}"))
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.05 * torch.randn_like(weight))  # an open gate, so that a wrong state would be heard
        noisy = 0.1 * torch.randn(2, 1, 20 * 480 + 1440)
        degraded, known = 0.5 * noisy[..., : 20 * 480], torch.rand(2, 20, 225)
        known[1, :7] = torch.nan
        whole = net(degraded, noisy, known)
        memory, parts = None, []
        for span in ((0, 3), (3, 4), (4, 13), (13, 20)):
            part, memory = net(degraded, noisy, known, span=span, memory=memory)
            parts.append(part)
    assert (whole - degraded).abs().max() > 1e-3
    assert torch.allclose(torch.cat(parts, dim=-1), whole, atol=1e-6)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_a_correction_is_made_where_it_may_be_and_learning_opens_no_more(conditioning: str) -> None:
    net = network(conditioning=conditioning).requires_grad_(True)
    chunk = chunk_of(net, 6)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    for _ in range(2):
        out, _ = net.stream(chunk, net.initial_state(chunk["degraded"]))
        optimizer.zero_grad()
        out["residual"].square().sum().backward()
        optimizer.step()
    out, _ = net.stream(chunk, net.initial_state(chunk["degraded"]))
    degraded = chunk["degraded"][:, :, 2:]
    # A stream's noisy frames are two later than the degraded ones beside them.
    taken = chunk["noisy"][:, :, :-2] - degraded if net.uses_noisy else 3.0 * degraded
    size = (out["residual"] - out["gate"] * F.pad(taken, (0, 0, 2, 0)))[:, :, 2:].abs().amax(dim=(0, 1, 2))
    assert size[160:].min() > 1e-6
    assert (size[:160].max() < 1e-8) == net.uses_noisy

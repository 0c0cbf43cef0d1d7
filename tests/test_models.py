"""Networks: what a stream gives, what the gate means, what a discriminator sees."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from timbre_restore.models import Discriminators, DiscriminatorSettings, UNet, UNetSettings
from timbre_restore.models.discriminators import PeriodDiscriminator
from timbre_restore.models.streaming import HOP_SAMPLES, RunningLevel, StreamingConv1d, StreamingGRU
from timbre_restore.models.unet import LOOKAHEAD_SAMPLES, cosine_basis

SMALL = {"bands": 32, "channels": (8, 8, 16), "recurrent": 16}
CONDITIONINGS = ("degraded+noisy", "degraded")


def network(conditioning: str = "degraded+noisy", seed: int = 0) -> UNet:
    """A small generator whose gate and correction are alive, so that every path shows in the output."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = UNet(UNetSettings(conditioning=conditioning, **SMALL)).eval().requires_grad_(False)
        torch.nn.init.normal_(net.heads[-1].weight, std=0.05)
    return net


def sounds(hops: int, batch: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    noisy = 0.2 * torch.randn(batch, 1, hops * HOP_SAMPLES + LOOKAHEAD_SAMPLES, generator=generator)
    return 0.5 * noisy[..., : hops * HOP_SAMPLES], noisy


def run(net: UNet, degraded: Tensor, noisy: Tensor, chunks: list[int]) -> Tensor:
    state, out, at = net.initial_state(degraded), [], 0
    for hops in chunks:
        stop = at + hops * HOP_SAMPLES
        given = noisy[..., at : stop + LOOKAHEAD_SAMPLES] if net.uses_noisy else None
        restored, state = net.stream(degraded[..., at:stop], given, state)
        out.append(restored)
        at = stop
    return torch.cat(out, dim=-1)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("chunks", [[1] * 250, [7, 100, 1, 142], [249, 1]])
def test_stream_equals_offline(conditioning: str, chunks: list[int]) -> None:
    net = network(conditioning)
    degraded, noisy = sounds(250)  # longer than the running level's memory of 200 hops
    offline = net(degraded, noisy if net.uses_noisy else None)
    assert torch.allclose(run(net, degraded, noisy, chunks), offline, atol=1e-5)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("late", [0, 1, 479])
def test_output_depends_on_the_past_hop_by_hop(conditioning: str, late: int) -> None:
    """Inputs equal up to t give outputs equal up to the whole hops before t, and no further."""
    net = network(conditioning)
    degraded, noisy = sounds(20)
    moment = 10 * HOP_SAMPLES + late
    other, other_noisy = degraded.clone(), noisy.clone()
    other[..., moment:] += 0.1
    other_noisy[..., moment + LOOKAHEAD_SAMPLES :] += 0.1
    one = net(degraded, noisy if net.uses_noisy else None)
    two = net(other, other_noisy if net.uses_noisy else None)
    same = moment // HOP_SAMPLES * HOP_SAMPLES
    assert torch.equal(one[..., :same], two[..., :same])
    assert not torch.equal(one[..., same : same + 2 * HOP_SAMPLES], two[..., same : same + 2 * HOP_SAMPLES])


def test_noisy_is_used_up_to_its_lookahead() -> None:
    net = network()
    degraded, noisy = sounds(20)
    later = noisy.clone()
    later[..., 10 * HOP_SAMPLES + LOOKAHEAD_SAMPLES - 1] += 1.0
    changed = (net(degraded, noisy) - net(degraded, later)).abs()[0, 0]
    assert changed[: 9 * HOP_SAMPLES].max() == 0
    assert changed[9 * HOP_SAMPLES : 10 * HOP_SAMPLES].max() > 0


def test_open_gate_gives_the_noisy_back_and_shut_gate_the_degraded() -> None:
    net = UNet(UNetSettings(**SMALL)).requires_grad_(False)
    degraded, noisy = sounds(20)
    head = net.heads[-1]
    head.weight.zero_()
    head.bias.zero_()
    head.bias[: SMALL["bands"]] = 30.0
    assert torch.allclose(net(degraded, noisy), noisy[..., : degraded.shape[-1]], atol=1e-5)
    head.bias[: SMALL["bands"]] = -30.0
    assert torch.allclose(net(degraded, noisy), degraded, atol=1e-6)


def test_gate_lies_between_shut_and_open() -> None:
    net = network()
    degraded, noisy = sounds(20)
    _, gate, _ = net.residual(degraded, noisy, net.initial_state(degraded))
    assert gate.shape == (1, SMALL["bands"], 20 * 30)
    assert 0 < gate.min() < 0.5 < gate.max() < 1


def test_restoring_scales_with_the_voice() -> None:
    """Features are relative to the running level, so a quieter recording is restored alike (above the floor)."""
    net = network()
    degraded, noisy = sounds(50)
    loud, quiet = net(degraded, noisy), net(0.1 * degraded, 0.1 * noisy)
    error = (0.1 * loud - quiet).abs().max() / quiet.abs().max()
    assert error < 0.02


def test_missing_noisy_is_refused() -> None:
    with pytest.raises(ValueError, match="noisy is missing"):
        network()(sounds(2)[0])


@pytest.mark.parametrize("bands", [8, 40])
def test_bands_that_do_not_fit_the_stride_are_refused(bands: int) -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        UNet(UNetSettings(bands=bands))


def test_cosine_basis_is_orthonormal() -> None:
    basis = cosine_basis(32)
    assert torch.allclose(basis @ basis.T, torch.eye(32), atol=1e-5)


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


def test_running_level_follows_a_tone_from_its_first_hop() -> None:
    level = RunningLevel()
    tone = 0.1 * torch.ones(1, 1, 300 * HOP_SAMPLES)
    values, _ = level(tone, level.initial_state(tone))
    assert torch.allclose(values, torch.full_like(values, 0.1 + level.floor), rtol=1e-4)
    tone[..., 150 * HOP_SAMPLES :] = 0.0
    falling, _ = level(tone, level.initial_state(tone))
    # 0.7 s of silence halves the power's weight e-fold: the amplitude falls by exp(-0.5), less the bias correction.
    assert falling[0, 0, 149] > falling[0, 0, 219] > 0.4 * falling[0, 0, 149]
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


def test_unknown_discriminator_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown discriminator 'mdp'"):
        Discriminators(DiscriminatorSettings(names=("mdp",)))

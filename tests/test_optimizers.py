"""What moves the weights: orthogonal steps for matrices, AdamW for what is left."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from timbre_restore.models import GeneratorSettings, make_generator
from timbre_restore.training.optimizers import Muon, make_optimizer, orthogonal

BETAS = (0.9, 0.99)


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random gradients for everything that is trained."""
    draws = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        p.grad = torch.randn(p.shape, generator=draws) if p.requires_grad else None
    return module


def muon(module: nn.Module, rate: float = 0.01, decay: float = 0.0) -> Muon:
    return Muon(module, rate, betas=BETAS, weight_decay=decay)


@pytest.mark.parametrize("shape", [(1, 24, 252), (3, 64, 64), (2, 160, 8), (1, 1, 1)])
def test_orthogonal_keeps_directions_and_evens_out_their_sizes(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    sizes = torch.logspace(0, -2, u.shape[2])  # the smallest a hundredth of the largest
    out = orthogonal(1e-3 * (u * sizes) @ v)
    turned = u.mT @ out @ v.mT  # diagonal where directions are kept
    values = turned.diagonal(dim1=1, dim2=2)
    assert (turned - torch.diag_embed(values)).abs().max() < 2e-3
    assert values.min() > 0.6 and values.max() < 1.3
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


def test_a_recurrence_moves_as_a_matrix_per_gate_would() -> None:
    torch.manual_seed(1)
    gru = nn.GRU(8, 16)
    gates = nn.ModuleList(nn.Linear(8, 16, bias=False) for _ in range(3))
    filled(gru)
    assert gru.weight_ih_l0.grad is not None
    for gate, weight, gradient in zip(
        gates, gru.weight_ih_l0.detach().chunk(3), gru.weight_ih_l0.grad.chunk(3), strict=True
    ):
        gate.weight.data = weight.clone()
        gate.weight.grad = gradient.clone()
    for module in (gru, gates):
        optimizer = muon(module, decay=0.1)
        optimizer.step()
        optimizer.step()  # with what is remembered
    apart = torch.cat([gate.weight for gate in gates])
    assert torch.allclose(gru.weight_ih_l0, apart, atol=1e-6)


def test_a_step_is_as_large_as_one_of_adamw_and_decays_as_much() -> None:
    torch.manual_seed(2)
    layer = filled(nn.Conv2d(6, 24, (3, 7), bias=False))
    before = layer.weight.detach().clone()
    muon(layer, rate=0.01, decay=0.5).step()
    moved = layer.weight.detach() - (1.0 - 0.01 * 0.5) * before
    # Of 24 singular values of about 1 among 24 · 126 entries, times 0.2 √126: an RMS of 0.2.
    assert moved.square().mean().sqrt().item() == pytest.approx(0.01 * 0.2, rel=0.25)


def test_what_is_no_matrix_moves_as_with_adamw() -> None:
    generator = make_generator(GeneratorSettings(size="tiny"))
    ours, theirs = copy.deepcopy(generator), copy.deepcopy(generator)
    for net, kind, decay in ((ours, "muon", 0.1), (theirs, "adamw", 0.0)):
        optimizer = make_optimizer(kind, net, 0.01, betas=BETAS, weight_decay=decay)
        for seed in range(3):
            filled(net, seed)
            optimizer.step()
    alike = {name for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True) if a.equal(b)}
    plain = {name for name, p in generator.named_parameters() if p.ndim < 2 or len(p) < 4}
    assert alike == plain
    assert {"reach", "heads.weight", "enter.conv.bias", "fine.gru.bias_hh_l0"} <= plain


def test_what_is_frozen_or_has_no_gradient_stays() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    net[0].weight.requires_grad_(False)
    optimizer = muon(net, decay=0.5)
    filled(net)
    net[1].weight.grad = None
    before = [p.detach().clone() for p in net.parameters()]
    optimizer.step()
    moved = [not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True)]
    assert moved == [False, True, False, True]


def test_matrices_remember_the_gradients_before() -> None:
    """Nesterov's way of it: what is made orthogonal is 0.95 of the mean and 0.05 of the new gradient."""
    layer = nn.Linear(8, 8, bias=False)
    optimizer = muon(layer)
    mean = torch.zeros(8, 8)
    for seed in range(3):
        filled(layer, seed)
        assert layer.weight.grad is not None
        mean = 0.95 * mean + 0.05 * layer.weight.grad
        wanted = 0.95 * mean + 0.05 * layer.weight.grad
        expected = layer.weight.detach() - 0.01 * 0.2 * 8**0.5 * orthogonal(wanted[None])[0]
        optimizer.step()
        assert torch.allclose(layer.weight, expected, atol=1e-6)


def test_it_goes_down_along_directions_that_a_gradient_hardly_shows() -> None:
    """A quadratic bowl, ten thousand times flatter along most directions than along one."""
    torch.manual_seed(3)
    target = torch.randn(16, 16)
    steep = torch.full((16, 1), 0.01)
    steep[0] = 1.0

    def left(kind: str) -> float:
        layer = nn.Linear(16, 16, bias=False)
        layer.weight.data.zero_()
        rotated = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(4)))[0]
        optimizer = make_optimizer(kind, layer, 0.2, betas=BETAS, weight_decay=0.0)
        for step in range(120):
            optimizer.zero_grad()
            off: Tensor = steep * (rotated @ (layer.weight - target))
            off.square().sum().backward()
            for group in optimizer.param_groups:
                group["lr"] = 0.2 * 0.5 * (1.0 + math.cos(math.pi * step / 120))
            optimizer.step()
        return (layer.weight.detach() - target).square().mean().sqrt().item()

    assert left("muon") < 0.6 * left("adamw")

"""Rules on whether the weights move, with a check of every trainable tensor that costs two sums.

An unchanged tensor is recognised by the sum of its bits as integers, which is exact on any device, and pure weight
decay by the sum of its magnitudes, which shrinks by a known share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from timbre_restore.training.monitors.findings import Finding
from timbre_restore.training.monitors.look import Lasting, Look, Still
from timbre_restore.training.settings import TrainSettings

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
LEAST_RATE = 1e-5
"""Relative to the largest weight: a smaller step may be lost in rounding, so its tensor is not checked."""
SHARE = 0.2
"""Relative tolerance within which a decay matches the expected one."""
FROZEN_STEPS = 30
KEY = {"generator": "training.learning_rate", "discriminators": "training.discriminator_learning_rate"}


@dataclass(frozen=True)
class _Print:
    bits: list[int]
    size: list[float]
    largest: list[float]


class Movement:
    """Compares the trainable weights of each network with those at the previous check.

    Tensors frozen by `requires_grad` are not checked, nor are those that stay 0 because nothing reaches them.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[list[str], _Print]] = {}

    def look(self, network: str, module: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> Still | None:
        """What did not change in `steps` steps at the optimiser's current rate; None the first time."""
        named = [(name, p.detach()) for name, p in module.named_parameters() if p.requires_grad]
        names = [name for name, _ in named]
        before_names, before = self._last.get(network, ([], None))
        now = _print([p for _, p in named])
        self._last[network] = names, now
        if before is None or names != before_names:
            return None
        rate = max(group["lr"] for group in optimizer.param_groups)
        decay = max(group.get("weight_decay", 0.0) for group in optimizer.param_groups) * rate * steps
        judged = [i for i in range(len(names)) if now.size[i] > 0.0 and rate >= LEAST_RATE * now.largest[i]]
        still = tuple(names[i] for i in judged if now.bits[i] == before.bits[i])
        # Muon does not decay tensors that are not matrices; these then stay unchanged while the matrices shrink.
        shrunk = [i for i in judged if _decayed(before.size[i], now.size[i], decay)]
        return Still(len(judged), still, bool(shrunk) and len(shrunk) + len(still) == len(judged))


def _print(tensors: list[Tensor]) -> _Print:
    bits = [p.reshape(-1).view(INTEGERS[p.element_size()]).sum(dtype=torch.int64) for p in tensors]
    sizes = [p.abs().sum(dtype=torch.float32) for p in tensors]
    largest = [p.abs().amax().float() for p in tensors]
    # One transfer for each of the three; a transfer per tensor would mean hundreds.
    return _Print(*(torch.stack(values).tolist() for values in (bits, sizes, largest)))


def _decayed(before: float, now: float, decay: float) -> bool:
    """Whether the magnitudes shrank by the share `decay`, and by nothing else."""
    return decay > 1e-6 and abs(before - now - decay * before) < SHARE * decay * before


class Frozen:
    """Networks or single tensors that are trained but do not move."""

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._whole: dict[str, Lasting] = {}
        self._parts: dict[tuple[str, str], Lasting] = {}

    @property
    def suspects(self) -> bool:
        return any(lasting.begun for lasting in self._whole.values())

    def look(self, look: Look) -> Iterator[Finding]:
        for network, still in look.still.items():
            whole = still.tensors > 0 and (still.only_decayed or len(still.names) == still.tensors)
            if self._whole.setdefault(network, Lasting(self._long(network))).add(whole, look.steps):
                yield self._frozen(look.step, network, still)
            elif parts := self._lasting_parts(network, still.names, look.steps):
                yield Finding(
                    "partly_frozen",
                    look.step,
                    f"{len(parts)} of {still.tensors} weight tensors of the {network} have not moved for "
                    f"{self._long(network)} steps ({', '.join(parts[:3])}{' …' if len(parts) > 3 else ''})",
                    "no gradient reaches them, or the optimiser does not include them",
                    "check the input of those layers, or freeze them with requires_grad_(False) if they are meant to "
                    "stay unchanged",
                )

    def _long(self, network: str) -> int:
        """Number of steps within which a network that is being trained must move."""
        return FROZEN_STEPS * (self._settings.discriminator_every if network == "discriminators" else 1)

    def _frozen(self, step: int, network: str, still: Still) -> Finding:
        what = "changed only by the weight decay" if still.only_decayed else "stayed unchanged, bit for bit,"
        key = KEY[network]
        return Finding(
            f"{network}_frozen",
            step,
            f"all {still.tensors} trainable weight tensors of the {network} {what} for {self._long(network)} steps",
            "no gradient reaches them, or their optimiser is not stepped",
            "check their optimiser and what is frozen if you changed the code; otherwise raise "
            f"{key} from {getattr(self._settings, key.removeprefix('training.')):g}",
            stops=True,
        )

    def _lasting_parts(self, network: str, names: tuple[str, ...], steps: int) -> list[str]:
        known = {name for net, name in self._parts if net == network}
        lasted = {
            name: self._parts.setdefault((network, name), Lasting(self._long(network))).add(name in names, steps)
            for name in sorted(known | set(names))
        }
        return [name for name, lasts in lasted.items() if lasts]


def not_finite(modules: Mapping[str, Any]) -> list[str]:
    """The names of the networks that hold a NaN or infinite weight."""
    return [
        name
        for name, module in modules.items()
        if not torch.stack([torch.isfinite(p).all() for p in module.state_dict().values()]).all()
    ]

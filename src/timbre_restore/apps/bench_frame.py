"""The `bench` command, or `bench frame`: what restorer and suppressor cost per frame, on one core, in the same run.

The restorer is timed hop by hop in a stream, as it runs behind a suppressor. Some suppressor runtimes only take whole
signals and open their model for each one, so the suppressor is timed over a stretch, minus the time of an almost empty
one, and its percentiles are over stretches. Rounds of the two alternate, so that other load on the machine affects
both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from timbre_restore.apps.console import STDOUT, give_json, progress_bar, show
from timbre_restore.apps.options import ConfigFile, ModelFile, Overrides, check_targets, configure
from timbre_restore.apps.suppressing import suppressor_of

if TYPE_CHECKING:
    from rich.table import Table

    from timbre_restore.audio import FloatArray

STRETCH_FRAMES = 300
DISCARDED_ROUNDS = 1


@dataclass(frozen=True)
class Cost:
    """Milliseconds per 10 ms frame: median and 99th percentile over `samples` measurements."""

    name: str
    p50_ms: float
    p99_ms: float
    samples: int
    measured: str
    """What a single measurement covers."""


def frame(
    rounds: Annotated[int, typer.Option(min=2, help="Number of three-second stretches to measure.")] = 20,
    model: ModelFile = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results as JSON; '-' is stdout.")] = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
) -> None:
    """Measure the cost of a frame, or of training ('bench train')."""
    settings = configure(config, overrides)
    check_targets({"--json": json})
    import numpy as np

    from timbre_restore.runtime import Restorer

    restorer, suppressor = Restorer.load(model, threads=1), suppressor_of(settings)
    hop, lead = restorer.hop_samples, suppressor.latency_samples
    noisy = _test_signal(STRETCH_FRAMES * hop)
    degraded = np.concatenate([np.zeros(lead, np.float32), suppressor(noisy)])[: len(noisy)]
    hops_ms: list[float] = []
    stretches_ms: list[float] = []
    with progress_bar("rounds") as progress:
        for done in range(rounds + DISCARDED_ROUNDS):
            progress(done, rounds + DISCARDED_ROUNDS, "")
            whole = _milliseconds(suppressor, noisy[: STRETCH_FRAMES * hop])
            opening = _milliseconds(suppressor, noisy[:hop])
            # The two calls differ by every frame but one, the short call's.
            per_frame = (whole - opening) / (STRETCH_FRAMES - 1)
            stream, hops = (
                restorer.stream(lead, strength=1.0),
                (slice(at, at + hop) for at in range(0, len(noisy), hop)),
            )
            per_hop = [
                _milliseconds(stream.push, degraded[at], *((noisy[at],) if restorer.needs_noisy else ())) for at in hops
            ]
            if done >= DISCARDED_ROUNDS:
                stretches_ms.append(per_frame)
                hops_ms.extend(per_hop)
    costs = (
        _cost("restorer", hops_ms, "one hop"),
        _cost(suppressor.name, stretches_ms, f"mean over a stretch of {STRETCH_FRAMES} frames"),
    )
    report = _report(costs, restorer.name, suppressor.build)
    show(_table(costs, report), aside=json == STDOUT)
    if json is not None:
        give_json(report, json)


def _milliseconds(call: Callable[..., Any], *arguments: Any, **named: Any) -> float:
    started = time.perf_counter()
    call(*arguments, **named)
    return 1000.0 * (time.perf_counter() - started)


def _test_signal(samples: int) -> FloatArray:
    """Speech-like sound in noise, at about 10 dB SNR: in silence and in clean speech the suppressor skips work."""
    import numpy as np

    from timbre_restore.apps.made_voice import Speaker, made_voice
    from timbre_restore.audio import SAMPLE_RATE_HZ

    voice = made_voice(Speaker(140.0, 1.0, 4.5), samples / SAMPLE_RATE_HZ + 0.1, seed=0)[:samples]
    noise = 0.03 * np.random.default_rng(0).standard_normal(samples)
    return (voice + noise).astype(np.float32)


def _cost(name: str, values_ms: list[float], measured: str) -> Cost:
    import numpy as np

    p50, p99 = np.percentile(values_ms, [50, 99])
    return Cost(name, round(float(p50), 4), round(float(p99), 4), len(values_ms), measured)


def _report(costs: tuple[Cost, Cost], model: str, build: str) -> dict[str, Any]:
    restorer, suppressor = costs
    return {
        "frame_ms": 10.0,
        "threads": 1,
        "model": model,
        "suppressor_build": build,
        "costs": {cost.name: asdict(cost) for cost in costs},
        "p50_ratio": round(restorer.p50_ms / suppressor.p50_ms, 4),
    }


def _table(costs: tuple[Cost, Cost], report: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(title="Milliseconds per 10 ms frame, one thread", title_justify="left")
    for heading in ("", "p50", "p99"):
        table.add_column(heading, justify="left" if not heading else "right")
    table.add_column("one measurement")
    for cost in costs:
        table.add_row(
            cost.name, f"{cost.p50_ms:.3f}", f"{cost.p99_ms:.3f}", f"{cost.measured} ({cost.samples} measurements)"
        )
    table.caption = f"restorer / suppressor, ratio of medians: {report['p50_ratio']:.2f}"
    return table

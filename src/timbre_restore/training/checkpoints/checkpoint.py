"""Checkpoints: one folder per saved step, created by rename, and small pointer files: `last`, `best`, `healthy`.

    <run>/checkpoints/step-00001234/  generator.safetensors  ema.safetensors  discriminators.safetensors
                                      optimizers.pt  checkpoint.json (readable: model, step, metrics, settings, sums)
    <run>/checkpoints/last.json       {"folder": "step-00001234"}

Weights are safetensors, and the optimisers' tensors are loaded with `weights_only`, so an untrusted checkpoint can't
run code. Loading is strict, and a checkpoint of a different model is refused before any tensor is changed. The last
checkpoints (see `KEPT`), `best` and `healthy` are kept; if the last one is damaged on disk, the previous one takes its
place. `healthy` is the last one that was written while no monitor suspected anything. The checkpoint of step 0, to
which a run that fails early goes back, is deleted as soon as nothing points to it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from timbre_restore import atomic
from timbre_restore.errors import CheckpointError
from timbre_restore.models import Generator, GeneratorSettings, make_generator
from timbre_restore.training import tally
from timbre_restore.training.checkpoints.checkout_state import code_state

if TYPE_CHECKING:
    from timbre_restore.training.settings import TrainSettings
    from timbre_restore.training.state import TrainState

FORMAT = 8
KEYS = {"epoch", "batch", "step", "best", "tally", "order", "settings", "sha256"}
"""Required keys of `checkpoint.json` besides format and model."""
POINTERS = ("last", "best", "healthy")
KEPT = 2
"""Number of recent checkpoints to keep: the last one, and one that may be needed in its place."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder that holds a checkpoint, and the content of its `checkpoint.json`."""

    folder: Path
    content: dict[str, Any]


def save_checkpoint(
    run: Path,
    state: TrainState,
    settings: TrainSettings,
    metrics: dict[str, float],
    *,
    best: bool,
    healthy: bool = True,
    order: dict[str, Any],
    planned: dict[str, float] | None = None,
) -> Path:
    """Write the state between two steps, update the pointers, and delete checkpoints that are no longer needed.

    `last` always moves to the new checkpoint, `best` and `healthy` only if the arguments say so. `order` holds what
    determines the order of the items, to be compared on resume; `planned` is the length of the run if it was measured.
    """
    root = run / "checkpoints"
    folder = root / _name(state.step)
    temporary = root / f".{folder.name}.{os.getpid()}.tmp"
    content = {
        "format": FORMAT,
        "epoch": state.epoch,
        "batch": state.batch,
        "step": state.step,
        "best": state.best,
        "rate_factor": state.rate_factor,
        "rollbacks": state.rollbacks,
        "tally": tally.to_record(state.tally),
        "metrics": metrics,
        "model": _model_record(settings),
        "order": order,
        "planned": planned,
        "settings": settings.record,
        "code": code_state(),
    }
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process with the same process ID
        temporary.mkdir(parents=True)
        save_file(_tensors(_unwrapped(state.generator)), temporary / "generator.safetensors")
        save_file(_tensors(state.ema), temporary / "ema.safetensors")
        save_file(_tensors(_unwrapped(state.discriminators)), temporary / "discriminators.safetensors")
        torch.save(
            {
                "generator": state.generator_optimizer.state_dict(),
                "discriminators": state.discriminator_optimizer.state_dict(),
            },
            temporary / "optimizers.pt",
        )
        sums = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
        atomic.write_json(temporary / "checkpoint.json", content | {"sha256": sums})
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except (OSError, SafetensorError, RuntimeError) as exc:
        raise CheckpointError(
            f"{folder}: the checkpoint can't be written ({exc}); the previous one is intact. Free some disk space, or "
            "choose another training.output_dir, then continue with --resume."
        ) from exc
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    # `best` first: after a kill between the two, the run continues from the older `last` and decides again.
    if best:
        atomic.write_json(root / "best.json", {"folder": folder.name})
    if healthy:
        atomic.write_json(root / "healthy.json", {"folder": folder.name})
    atomic.write_json(root / "last.json", {"folder": folder.name})
    _drop_old(root)
    return folder


def find_checkpoint(path: Path, which: str = "last", *, talk: Callable[[str], None] = lambda _: None) -> Checkpoint:
    """The checkpoint at `path`: the folder of a run (then its `last`, `best` or `healthy`) or of a checkpoint.

    If the last checkpoint of a run is damaged, the newest intact one before it is used, and `talk` receives a warning.
    Raises `CheckpointError` if there is none.
    """
    for root in (path / "checkpoints", path):
        pointer = root / f"{which}.json"
        if not pointer.is_file():
            if which != "last" and (root / "last.json").is_file():
                raise CheckpointError(
                    f"{path}: has no {which} checkpoint until an epoch is completed; use the last one."
                )
            continue
        named = root / str(_read_json(pointer).get("folder", ""))
        try:
            return _whole_checkpoint(named)
        except CheckpointError as exc:
            for folder in sorted(root.glob("step-*"), reverse=True) if which == "last" else ():
                if folder.name < named.name and (found := _if_whole(folder)):
                    talk(
                        f"warning: {str(exc).rpartition('; ')[0]}; the previous checkpoint, {folder}, is used instead."
                    )
                    return found
            raise
    return _whole_checkpoint(path)


def _if_whole(folder: Path) -> Checkpoint | None:
    try:
        return _whole_checkpoint(folder)
    except CheckpointError:
        return None


def _whole_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`, after verifying its files against their checksums."""
    described = folder / "checkpoint.json"
    if not described.is_file():
        raise CheckpointError(
            f"{folder}: holds no checkpoint; expected the folder of a run or of one of its checkpoints."
        )
    content = _read_json(described)
    if content.get("format") != FORMAT or not isinstance(content.get("model"), dict):
        raise CheckpointError(
            f"{described}: has format {content.get('format')!r}, but this version reads {FORMAT}; use the version that "
            "wrote it."
        )
    if missing := sorted(KEYS - content.keys()):
        raise CheckpointError(
            f"{described}: can't be read (it lacks {', '.join(missing)}); resume from another checkpoint."
        )
    for name, sum_then in content["sha256"].items():
        try:
            whole = _sha256(folder / name) == sum_then
        except OSError as exc:
            raise CheckpointError(f"{folder / name}: can't be read ({exc}); resume from another checkpoint.") from exc
        if not whole:
            raise CheckpointError(
                f"{folder / name}: can't be read (its checksum does not match); resume from another checkpoint."
            )
    return Checkpoint(folder, content)


def restore_state(checkpoint: Checkpoint, state: TrainState, settings: TrainSettings) -> None:
    """Restore `state` from the checkpoint. Raises `CheckpointError` for a checkpoint of a different model."""
    if differences := _differences(checkpoint, settings, ("generator", "discriminators")):
        raise CheckpointError(
            f"{checkpoint.folder}: holds a different model from the configuration ({'; '.join(differences)}); set the "
            "checkpoint's values with --set, or start a new run without --resume."
        )
    load_weights(checkpoint, "generator", _unwrapped(state.generator))
    load_weights(checkpoint, "ema", state.ema)
    load_weights(checkpoint, "discriminators", _unwrapped(state.discriminators))
    path = checkpoint.folder / "optimizers.pt"
    try:
        optimizers = torch.load(path, map_location="cpu", weights_only=True)
        _load_optimizer(state.generator_optimizer, optimizers["generator"])
        _load_optimizer(state.discriminator_optimizer, optimizers["discriminators"])
    except Exception as exc:  # torch.load raises whatever the unpickler raises
        raise CheckpointError(f"{path}: can't be read ({exc}); resume from another checkpoint.") from exc
    content = checkpoint.content
    state.epoch, state.batch, state.step = int(content["epoch"]), int(content["batch"]), int(content["step"])
    state.best = float(content["best"])
    state.rate_factor, state.rollbacks = float(content.get("rate_factor", 1.0)), int(content.get("rollbacks", 0))
    state.tally = tally.from_record(content["tally"])


def begin_from(path: Path, state: TrainState, settings: TrainSettings, talk: Callable[[str], None]) -> None:
    """Start a new run from the averaged generator and the discriminators of another run or checkpoint.

    Discriminators with different settings start from fresh weights. Raises `CheckpointError` if the generator differs.
    """
    pointed = any((root / "best.json").is_file() for root in (path, path / "checkpoints"))
    checkpoint = find_checkpoint(path, "best" if pointed else "last", talk=talk)
    if differences := _differences(checkpoint, settings, ("generator",)):
        raise CheckpointError(
            f"{checkpoint.folder}: training.start_from holds a different generator from the configuration "
            f"({'; '.join(differences)}); set its values with --set, or choose another checkpoint."
        )
    for generator in (_unwrapped(state.generator), state.ema):
        load_weights(checkpoint, "ema", generator)
    judged = not _differences(checkpoint, settings, ("discriminators",))
    if judged:
        load_weights(checkpoint, "discriminators", _unwrapped(state.discriminators))
    fresh = "" if judged else " (its discriminators have different settings, so new ones are used)"
    talk(f"starting from {checkpoint.folder}{fresh}")


def _load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Load the saved moments but keep the configured settings: a changed beta or decay applies from here on."""
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(saved)
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        group.update(settings)


def forget_later(run: Path, checkpoint: Checkpoint, state: TrainState) -> list[str]:
    """Delete everything after `checkpoint`, one of the run's own, so that the run continues from there.

    If the best checkpoint is later than it, no best one remains, and the next epoch's becomes the best. Returns the
    names of what was deleted.
    """
    gone = []
    root, here = run / "checkpoints", _name(int(checkpoint.content["step"]))
    pointer = root / "best.json"
    if pointer.is_file() and str(_read_json(pointer).get("folder")) > here:
        pointer.unlink()
        gone.append("the best one")
    if not pointer.is_file():
        state.best = math.inf
    point_to(run, "last", checkpoint)
    # An earlier one stays: this one may have been saved while a monitor suspected something.
    if not _reaches(run, "healthy", int(checkpoint.content["step"])):
        point_to(run, "healthy", checkpoint)
    for folder in root.glob("step-*"):
        if folder.name > here:
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder.name)
    return sorted(gone)


def _reaches(run: Path, which: str, last_step: int) -> bool:
    """Whether a pointer of the run leads to a checkpoint that can be read and is not later than a step."""
    try:
        return int(find_checkpoint(run, which).content["step"]) <= last_step
    except CheckpointError:
        return False


def point_to(run: Path, which: str, checkpoint: Checkpoint) -> None:
    """Point `last`, `best` or `healthy` of the run to one of its checkpoints."""
    root = run / "checkpoints"
    # By folder, not by step: the user may have renamed it.
    folder = os.path.relpath(checkpoint.folder.resolve(), root.resolve())
    atomic.write_json(root / f"{which}.json", {"folder": folder})


def record_rollback(checkpoint: Checkpoint, state: TrainState) -> None:
    """Record in the checkpoint that the run was rolled back to it, so that a resumed run continues the same way."""
    changed = {"rate_factor": state.rate_factor, "rollbacks": state.rollbacks}
    atomic.write_json(checkpoint.folder / "checkpoint.json", checkpoint.content | changed)


def load_generator(checkpoint: Checkpoint) -> Generator:
    """The averaged generator of a checkpoint, in evaluation mode, built from the checkpoint's own settings."""
    try:
        generator = make_generator(GeneratorSettings(**checkpoint.content["model"].get("generator", {})))
    except (TypeError, ValueError) as exc:
        raise CheckpointError(
            f"{checkpoint.folder}: describes a generator that this version does not support ({exc}); use the version "
            "that wrote it."
        ) from exc
    load_weights(checkpoint, "ema", generator)
    generator.requires_grad_(False)
    generator.eval()
    return generator


def load_weights(checkpoint: Checkpoint, name: str, module: nn.Module | Generator) -> None:
    """Load `<name>.safetensors` into `module` strictly: same names, same shapes."""
    path = checkpoint.folder / f"{name}.safetensors"
    try:
        module.load_state_dict(load_file(path), strict=True)
    except (OSError, SafetensorError) as exc:
        raise CheckpointError(f"{path}: can't be read ({exc}); resume from another checkpoint.") from exc
    except RuntimeError as exc:
        raise CheckpointError(
            f"{path}: its tensors do not match the model in checkpoint.json ({' '.join(str(exc).split())}); resume "
            "from another checkpoint."
        ) from exc


def _differences(checkpoint: Checkpoint, settings: TrainSettings, parts: tuple[str, ...]) -> list[str]:
    """The differences between the networks of the checkpoint and those of the settings, in words."""
    ours, theirs = _model_record(settings), checkpoint.content["model"]
    return [
        f"{part}.{key}: checkpoint {theirs.get(part, {}).get(key)!r}, configuration {value!r}"
        for part in parts
        for key, value in ours[part].items()
        if theirs.get(part, {}).get(key) != value
    ]


def _model_record(settings: TrainSettings) -> dict[str, dict[str, Any]]:
    parts = {
        "generator": dataclasses.asdict(settings.generator),
        "discriminators": dataclasses.asdict(settings.discriminators),
    }
    # A round trip through JSON, so that a tuple here and a list in the file compare equal.
    return dict(json.loads(json.dumps(parts)))


def _unwrapped(module: nn.Module) -> nn.Module:
    inner = getattr(module, "module", module)
    assert isinstance(inner, nn.Module)
    return inner


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise CheckpointError(f"{path}: can't be read ({exc}); resume from another checkpoint.") from exc
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: does not describe a checkpoint; resume from another checkpoint.")
    return content


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _drop_old(root: Path) -> None:
    atomic.sweep(root)
    pointers = [root / f"{which}.json" for which in POINTERS]
    kept = {str(_read_json(pointer).get("folder")) for pointer in pointers if pointer.is_file()}
    kept |= {folder.name for folder in sorted(root.glob("step-*"))[-KEPT:] if folder.name != _name(0)}
    for folder in [*root.glob("step-*"), *root.glob(".step-*.tmp")]:
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)

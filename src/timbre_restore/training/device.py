"""What a training process computes on: its accelerator, its precision, its threads."""

from __future__ import annotations

import os
from typing import Any

import torch
from accelerate import Accelerator

from timbre_restore.training.settings import TrainSettings


def open_accelerator(settings: TrainSettings, **more: Any) -> Accelerator:
    """Device, precision and threads as a run of these settings has them; `more` is accelerate's."""
    if settings.threads:
        torch.set_num_threads(threads_of_process(settings.threads))
    # Without the flag, processes without an accelerator would each train alone instead of together.
    cpu = not torch.accelerator.is_available()
    return Accelerator(cpu=cpu, mixed_precision=settings.mixed_precision, **more)


def threads_of_process(threads: int) -> int:
    """This process's share of the machine's threads, at least one: processes with more than cores only wait."""
    return max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def bf16_is_slow(device: torch.device) -> bool:
    """Whether this is a CPU without instructions for bfloat16: a step with it then takes several times as long."""
    # oneDNN, which convolves on CPUs, says for itself whether it has a way (aten/src/ATen/native/mkldnn/Utils.h).
    return device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()

"""The hardware setup of a training process: accelerator, precision and threads."""

from __future__ import annotations

import os
from typing import Any

import torch
from accelerate import Accelerator

from timbre_restore.training.settings import TrainSettings


def open_accelerator(settings: TrainSettings, **more: Any) -> Accelerator:
    """Set up device, precision and threads for these settings; `more` is passed to `accelerate.Accelerator`."""
    if settings.threads:
        torch.set_num_threads(threads_of_process(settings.threads))
    # Without this flag, processes on CPUs would each train on their own instead of together.
    cpu = not torch.accelerator.is_available()
    return Accelerator(cpu=cpu, mixed_precision=settings.mixed_precision, **more)


def threads_of_process(threads: int) -> int:
    """This process's share of the machine's threads, at least one: more threads than cores only wait."""
    return max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def bf16_is_slow(device: torch.device) -> bool:
    """Whether this is a CPU without bfloat16 instructions, where a step in bf16 takes several times as long."""
    # oneDNN, which runs convolutions on CPUs, reports its own support (aten/src/ATen/native/mkldnn/Utils.h).
    return device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()

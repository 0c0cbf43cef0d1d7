"""A checksum of what a network has learned, for the room that writes it into a file and the one that reads it there."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def weights_sha256(model: Any) -> str:
    """Checksum of a graph's weights by name: the same however the file is laid out."""
    from onnx import numpy_helper

    digest = hashlib.sha256()
    for weight in sorted(model.graph.initializer, key=lambda weight: str(weight.name)):
        values = numpy_helper.to_array(weight)
        digest.update(f"{weight.name} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()

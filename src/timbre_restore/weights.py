"""A checksum of a network's weights, shared by the code that writes it to a file and the code that reads it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def weights_sha256(model: Any) -> str:
    """SHA-256 over the weights of an ONNX graph, sorted by name; independent of the file's layout."""
    from onnx import numpy_helper

    digest = hashlib.sha256()
    for weight in sorted(model.graph.initializer, key=lambda weight: str(weight.name)):
        values = numpy_helper.to_array(weight)
        digest.update(f"{weight.name} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()

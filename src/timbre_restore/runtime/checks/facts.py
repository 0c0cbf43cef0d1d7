"""Whether a file's metadata is complete and matches its weights."""

from __future__ import annotations

from pathlib import Path

from timbre_restore.errors import ModelError
from timbre_restore.runtime.checks.rows import Row
from timbre_restore.runtime.model import METADATA_PREFIX, REQUIRED
from timbre_restore.weights import weights_sha256

PROVENANCE = ("version", "generator", "size", "weights_sha256")


def check_facts(path: Path) -> list[Row]:
    """Completeness of the metadata, and the checksum of the weights."""
    import onnx

    try:
        model = onnx.load(path)
    except Exception as exc:  # protobuf and onnx each raise their own
        raise ModelError(f"{path}: can't be read as ONNX ({exc}); export or copy it again.") from exc
    properties = {entry.key: entry.value for entry in model.metadata_props}
    facts = (*REQUIRED, *PROVENANCE)
    missing = [key for key in facts if not properties.get(METADATA_PREFIX + key)]
    stated = properties.get(f"{METADATA_PREFIX}weights_sha256", "")
    differs = stated != "" and stated != weights_sha256(model)
    return [
        Row("metadata", len(missing), 0, "facts", f"missing of {len(facts)}" + "".join(f" {key}" for key in missing)),
        Row("weights_sha256", float(differs), 0, "", "1 if the weights do not match the stated checksum"),
    ]

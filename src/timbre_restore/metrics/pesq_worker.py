"""The child process of PESQ: `pesq_worker.py RATE LENGTH,LENGTH,…`, float32 pieces on stdin, JSON on stdout.

Run by path, never imported: it must start fast and may crash. stdin holds reference, estimate, reference, … of the
given lengths. The answer is `{"values": […]}`, or `{"error": why}` for the first piece that has no value.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Score every piece, in order."""
    import numpy as np
    import pesq

    rate, lengths = int(sys.argv[1]), [int(n) for n in sys.argv[2].split(",")]
    sound = np.frombuffer(sys.stdin.buffer.read(), dtype="<f4")
    values, at = [], 0
    for length in lengths:
        wanted, given = sound[at : at + length], sound[at + length : at + 2 * length]
        at += 2 * length
        try:
            values.append(float(pesq.pesq(rate, wanted, given, "wb")))
        except pesq.PesqError as exc:
            reason = exc.args[0] if exc.args else type(exc).__name__
            reason = reason.decode() if isinstance(reason, bytes) else str(reason)
            sys.stdout.write(json.dumps({"error": reason}) + "\n")
            return
    sys.stdout.write("\n" + json.dumps({"values": values}) + "\n")


if __name__ == "__main__":
    main()

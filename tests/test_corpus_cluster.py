"""Takes through a cluster of two nodes, one of which is lost on the way."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import pytest

from tests.corpora import contents
from tests.processes import ended
from timbre_restore.corpus import CorpusSpec, SourceSpec, Work, make_on_ray, prepare
from timbre_restore.errors import MissingExtraError

# In a process of its own: the cluster's own threads, signal handlers and warnings stay out of the tests.
LOSING_A_NODE = """
import sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from tests.corpora import spec_of
from timbre_restore.corpus import Work, make_on_ray, prepare

sounds, out = map(Path, sys.argv[1:3])
memory = 80 * 2**20
cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, object_store_memory=memory))
node = cluster.add_node(num_cpus=1, object_store_memory=memory)
ray.init(address=cluster.address, log_to_driver=False)
assert ray.cluster_resources()["CPU"] == 2

def lose() -> None:
    while not any(out.glob(".state/takes/*/*.json")):
        time.sleep(0.01)
    cluster.remove_node(node, allow_graceful=False)

thread = threading.Thread(target=lose, daemon=True)
thread.start()
try:
    summary = prepare(spec_of(sounds), out, Work(num_workers=0, progress=False), execute=make_on_ray)
    thread.join()
    deadline = time.monotonic() + 60
    while len([n for n in ray.nodes() if n["Alive"]]) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    alive = len([n for n in ray.nodes() if n["Alive"]])
    Path(sys.argv[3]).write_text(f"{summary.rendered} {summary.lists_written} {alive}")
finally:
    ray.shutdown()
    cluster.shutdown()
"""


@pytest.mark.slow
def test_a_cluster_that_loses_a_node_makes_the_same_bytes(sounds: Path, real: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed (pip install '.[cluster]')")
    out = tmp_path / "corpus"
    command = [sys.executable, "-c", LOSING_A_NODE, str(sounds), str(out), str(tmp_path / "result")]
    root = Path(__file__).parent.parent
    # Its sockets' names may have 107 letters, and those of a test's own folder have many.
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        done = ended(command, os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}", "RAY_TMPDIR": short})
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "result").read_text() == "6 True 1"
    assert contents(out) == contents(real)
    assert not [path for path in out.rglob("*") if ".tmp" in path.name]


def test_without_ray_the_command_is_named(sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    spec = CorpusSpec((SourceSpec(sounds / "speech"),), sounds / "noise")
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[cluster\]'"):
        prepare(spec, tmp_path / "out", Work(progress=False), execute=make_on_ray)

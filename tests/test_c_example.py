"""The C program gives what the Python runtime gives."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.voices import noise, voice
from timbre_restore.runtime import Restorer

SOURCE = Path(__file__).resolve().parent.parent / "examples" / "c" / "restore_hop.c"
HEADER = "onnxruntime_c_api.h"
PLACES = (
    "/usr/include/onnxruntime",
    "/usr/local/include/onnxruntime",
    "/usr/local/include",
    "/opt/onnxruntime/include",
)


def header_folder() -> Path:
    named = os.environ.get("ORT_INCLUDE")
    package = Path(onnxruntime.__file__).parent
    for folder in [*([named] if named else []), *PLACES, package / "include", package / "capi"]:
        if (Path(folder) / HEADER).is_file():
            return Path(folder)
    pytest.skip(f"{HEADER} is not on this machine; set ORT_INCLUDE to the folder that holds it")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) on this machine")
    include = header_folder()
    libraries = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))
    if not libraries:
        pytest.skip("this build of the package onnxruntime holds no shared library of its own")
    folder = tmp_path_factory.mktemp("c")
    library, out = folder / "libonnxruntime.so.1", folder / "restore_hop"
    library.symlink_to(libraries[0])  # the name that the library gives itself, and so the loader looks for
    done = subprocess.run(
        [compiler, "-O2", "-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", "-isystem", str(include),
         str(SOURCE), "-o", str(out), str(library), f"-Wl,-rpath,{folder}", "-lm"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


def exported(folder: Path, conditioning: str, name: str = "spectral", **facts: str) -> Path:
    torch = pytest.importorskip("torch", reason="a model is made with torch")
    from timbre_restore.export import export_generator
    from timbre_restore.models.generator import GeneratorSettings, make_generator

    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = make_generator(GeneratorSettings(name, "tiny", conditioning)).eval()
    generator.requires_grad_(False)
    return export_generator(generator, folder / "m.onnx", metadata=facts).path


@pytest.mark.parametrize("conditioning", ["degraded", "degraded+noisy", "degraded+noisy+hints"])
@pytest.mark.parametrize("samples", [480 * 150, 480 * 150 + 137])
def test_c_gives_what_python_gives(program: Path, tmp_path: Path, conditioning: str, samples: int) -> None:
    model = exported(tmp_path, conditioning)
    noisy = (voice(2.0) + noise(2.0))[: samples + 1440]
    degraded = np.float32(0.5) * noisy[:samples]
    degraded.tofile(tmp_path / "degraded.f32")
    noisy.tofile(tmp_path / "noisy.f32")
    names = [str(tmp_path / name) for name in ("degraded.f32", "noisy.f32", "out.f32")]
    done = subprocess.run([program, model, *names, "1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    given = np.fromfile(tmp_path / "out.f32", np.float32)
    expected = Restorer.load(model)(degraded, noisy if "noisy" in conditioning else None, strength=1.0)
    assert given.shape == expected.shape
    assert np.abs(expected - degraded).max() > 1e-3  # a residual of nothing would prove nothing
    assert np.abs(given - expected).max() < 1e-5


def test_strength_is_the_files_own_or_a_number_from_0_to_1(program: Path, tmp_path: Path) -> None:
    model = exported(tmp_path, "degraded", strength="0.25")
    degraded = np.float32(0.5) * voice(1.0)
    degraded.tofile(tmp_path / "x.f32")
    command = [str(program), str(model), str(tmp_path / "x.f32"), str(tmp_path / "x.f32"), str(tmp_path / "out.f32")]
    for given in (None, "0.75"):
        done = subprocess.run([*command, *([given] if given else [])], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        expected = Restorer.load(model)(degraded, strength=None if given is None else float(given))
        assert np.abs(np.fromfile(tmp_path / "out.f32", np.float32) - expected).max() < 1e-5
    for given in ("loud", "7", "nan", "0.5x", ""):
        done = subprocess.run([*command, given], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == f"error: {given}: is not a valid strength; expected a number from 0 to 1\n"


def test_what_is_no_sound_is_counted_and_silent(program: Path, tmp_path: Path) -> None:
    model = exported(tmp_path, "degraded")
    degraded = np.float32(0.5) * voice(1.0)
    spoiled = degraded.copy()
    degraded[[1000, 2000, 3000]], spoiled[[1000, 2000, 3000]] = 0.0, (np.nan, np.inf, -1e6)
    spoiled.tofile(tmp_path / "x.f32")
    x = str(tmp_path / "x.f32")
    command = [str(program), str(model), x, x, str(tmp_path / "out.f32"), "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == f"warning: {x}: 3 invalid samples were replaced with silence"
    expected = Restorer.load(model)(degraded, strength=1.0)
    assert np.abs(np.fromfile(tmp_path / "out.f32", np.float32) - expected).max() < 1e-5


def test_a_model_on_waves_is_refused_in_a_sentence(program: Path, tmp_path: Path) -> None:
    model = exported(tmp_path, "degraded", name="unet")
    np.zeros(480, np.float32).tofile(tmp_path / "x.f32")
    x = str(tmp_path / "x.f32")
    done = subprocess.run(
        [program, model, x, x, str(tmp_path / "out.f32")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: timbre_restore.domain: is not what this program runs")

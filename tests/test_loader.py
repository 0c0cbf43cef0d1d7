"""Batches through processes: the same bits for any number of them, from any stored form, from any point on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

torch = pytest.importorskip("torch", reason="needs the extra 'train'")

from tests.conftest import ROOT  # noqa: E402
from timbre_restore.audio import HINT_VALUES, packed_name, read_stored  # noqa: E402
from timbre_restore.errors import AudioFileError, CorpusError  # noqa: E402
from timbre_restore.loading import BlackBox, EpochBatches, FixedBatches, Loader, RandomGain, TimbreRestoreDataset  # noqa: E402

SEGMENT, LEAD = 4800, 1440
ITEMS = 23


def stored(number: int) -> list[np.ndarray]:
    """Degraded, clean and noisy of an item, recognisable by their first sample."""
    rng = np.random.default_rng(number)
    signals = [rng.integers(-20_000, 20_000, length).astype(np.int16) for length in (SEGMENT, SEGMENT, SEGMENT + LEAD)]
    for role, signal in enumerate(signals):
        signal[0] = 10 * number + role
    return signals


def known(number: int) -> np.ndarray:
    """Hints of an item; one in five has none."""
    if number % 5 == 4:
        return np.full((SEGMENT // 480, HINT_VALUES), np.nan, np.float16)
    return np.random.default_rng([1, number]).random((SEGMENT // 480, HINT_VALUES)).astype(np.float16)


def listed(root: Path, form: str) -> Path:
    """A list of items as files of their own, or in two packed files."""
    lines, parts = [], {0: [], 1: []}
    for number in range(ITEMS):
        if form == "packed":
            part = parts[number % 2]
            at = sum(map(len, part))
            part += [*stored(number), known(number).reshape(-1).view(np.int16)]
            file = root / "packed" / f"train-{number % 2}.pcm"
            lines.append(f"{packed_name(file, at)}|{packed_name(file, at + SEGMENT)}\n")
            continue
        names = []
        for role, samples in zip(("degraded", "clean", "noisy"), stored(number), strict=True):
            path = root / "train" / role / f"{number}.{form}"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples, 48000)
            names.append(str(path))
        lines.append(f"{names[0]}|{names[1]}\n")
        if not np.isnan(known(number)).any():
            (root / "train" / "hints").mkdir(exist_ok=True)
            np.save(root / "train" / "hints" / f"{number}.npy", known(number))
    for number, part in parts.items():
        if part:
            (root / "packed").mkdir(exist_ok=True)
            np.concatenate(part).astype("<i2").tofile(root / "packed" / f"train-{number}.pcm")
    (root / "train.txt").write_text("".join(lines))
    return root / "train.txt"


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return listed(tmp_path_factory.mktemp("wav"), "wav")


def dataset(path: Path) -> TimbreRestoreDataset:
    return TimbreRestoreDataset(path, with_noisy=True, with_hints=True, segment=SEGMENT)


def epoch(loader: Loader) -> list[list[torch.Tensor]]:
    return [[tensor.clone() for tensor in batch] for batch in loader]


def same(one: list[list[torch.Tensor]], other: list[list[torch.Tensor]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.nan_to_num(-7), b.nan_to_num(-7))
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def batches(seed: int = 3, **processes: int) -> EpochBatches:
    return EpochBatches(ITEMS, 4, seed=seed, **processes)


@pytest.mark.parametrize("form", ["wav", "flac", "packed"])
def test_every_stored_form_gives_the_same_samples(tmp_path: Path, wav: Path, form: str) -> None:
    other = dataset(listed(tmp_path, form))
    for number in range(ITEMS):
        *waves, hints = other[number]
        for signal, expected in zip(waves, stored(number), strict=True):
            assert torch.equal(signal, torch.from_numpy(expected / np.float32(32768)).unsqueeze(0))
        assert np.array_equal(hints.numpy(), known(number).astype(np.float32), equal_nan=True)
    assert same(epoch(Loader(other, batches())), epoch(Loader(dataset(wav), batches())))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_bit_in_any_epoch(wav: Path, workers: int) -> None:
    """More batches than slots, twice: what a worker writes next never lands in what is still to be read."""
    gain = RandomGain(6.0, seed=5)
    alone_order, order = batches(), batches()
    alone = Loader(dataset(wav), alone_order, gain=gain)
    loader = Loader(dataset(wav), order, num_workers=workers, prefetched=1, gain=gain)
    for number in range(3):
        alone_order.set_epoch(number)
        order.set_epoch(number)
        assert same(epoch(loader), epoch(alone))


def test_an_epoch_goes_on_in_its_middle(wav: Path) -> None:
    order, rest = batches(), batches()
    gain = RandomGain(6.0, seed=5)
    order.set_epoch(4)
    whole = epoch(Loader(dataset(wav), order, gain=gain))
    assert len(whole) == len(order) == 6
    for start in (0, 1, 5, 6):
        rest.set_epoch(4, start_batch=start)
        assert same(epoch(Loader(dataset(wav), rest, num_workers=1, gain=gain)), whole[start:])
    # Two processes of half the batch go on with the same joined batches.
    halves = [EpochBatches(ITEMS, 2, seed=3, rank=rank, world=2) for rank in (0, 1)]
    for half in halves:
        half.set_epoch(4, start_batch=5)
    seen = [{int(i) for batch in half for i in batch} for half in halves]
    assert seen[0] | seen[1] == set(np.random.default_rng([3, 4]).permutation(ITEMS)[20:].tolist())
    with pytest.raises(ValueError, match="7, but the epoch has only 6"):
        order.set_epoch(4, start_batch=7)


def test_order_follows_from_seed_and_epoch(wav: Path) -> None:
    order = batches()
    first = list(order)
    assert sorted(i for batch in first for i in batch) == list(range(ITEMS))
    order.set_epoch(1)
    assert list(order) != first
    order.set_epoch(0)
    assert list(order) == first == list(batches())
    assert list(batches(seed=4)) != first


def test_gain_is_one_for_all_signals_and_never_clips(wav: Path) -> None:
    gain, seen = RandomGain(24.0, seed=0), set()
    order = batches()
    for number in range(2):
        order.set_epoch(number)
        plain, louder = epoch(Loader(dataset(wav), order)), epoch(Loader(dataset(wav), order, gain=gain))
        for one, other in zip(plain, louder, strict=True):
            ratios = [
                (b.double().norm(dim=2) / a.double().norm(dim=2)).squeeze(1)
                for a, b in zip(one[:3], other[:3], strict=True)
            ]
            low, louder_low = one[3][..., 33:], other[3][..., 33:]
            assert torch.allclose(louder_low, low * ratios[0].float()[:, None, None], rtol=1e-4, equal_nan=True)
            assert torch.equal(one[3][..., :33].nan_to_num(-7), other[3][..., :33].nan_to_num(-7))
            assert torch.allclose(ratios[0], ratios[1], rtol=1e-5) and torch.allclose(ratios[0], ratios[2], rtol=1e-5)
            assert max(float(signal.abs().max()) for signal in other[:3]) <= 0.9901
            seen |= {round(float(ratio), 6) for ratio in ratios[0]}
    assert len(seen) > ITEMS  # another one in the second epoch
    assert min(seen) < 0.1 and max(seen) > 1.3


def test_gain_belongs_to_the_item_and_not_to_its_place(wav: Path) -> None:
    gain = RandomGain(6.0, seed=9)
    (front,), (back,) = (
        epoch(Loader(dataset(wav), FixedBatches(order, 4), gain=gain)) for order in ([7, 1, 2, 3], [4, 5, 6, 7])
    )
    assert torch.equal(front[0][0], back[0][3])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_black_box_withholds_hints_of_the_same_items_whoever_reads(wav: Path, workers: int) -> None:
    box, order = BlackBox(0.5, seed=4), batches()
    plain, boxed = (epoch(Loader(dataset(wav), order, black_box=b, num_workers=workers)) for b in (None, box))
    withheld = []
    for indices, one, other in zip(order, plain, boxed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
        for row, index in enumerate(indices):
            gone = bool(other[3][row].isnan().all())
            assert gone == (box.draw(0, index) or bool(one[3][row].isnan().all()))
            withheld.append(box.draw(0, index))
    assert 0.2 < np.mean(withheld) < 0.8
    assert [box.draw(1, index) for index in range(ITEMS)] != [box.draw(0, index) for index in range(ITEMS)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_can_not_be_read_is_its_own_sentence(tmp_path: Path, workers: int) -> None:
    path = listed(tmp_path, "packed")
    victim = tmp_path / "packed" / "train-1.pcm"
    victim.write_bytes(victim.read_bytes()[:-200])
    with pytest.raises(CorpusError, match=r"line 22: .*ends at sample .* before"):
        epoch(Loader(dataset(path), FixedBatches(range(ITEMS), 4), num_workers=workers))
    victim.unlink()
    with pytest.raises(CorpusError, match=r"line 2: .*train-1\.pcm: can't be read"):
        epoch(Loader(dataset(path), FixedBatches(range(ITEMS), 4), num_workers=workers))


def test_packed_lines_that_name_no_item_are_refused(tmp_path: Path) -> None:
    path = listed(tmp_path, "packed")
    path.write_text(path.read_text() + f"{tmp_path / 'a.pcm@48'}|{tmp_path / 'b.pcm@96'}\n")
    with pytest.raises(CorpusError, match=r"line 24: .* form no item"):
        dataset(path)
    path.write_text(f"{tmp_path / 'a.pcm@0'}|{tmp_path / 'a.pcm@4801'}\n")
    with pytest.raises(CorpusError, match="holds 4801 samples, expected 4800"):
        dataset(path)[0]


def test_a_wav_that_is_not_the_plainest_is_read_all_the_same(tmp_path: Path) -> None:
    samples = stored(1)[0]
    plain, extra, deep = (tmp_path / f"{name}.wav" for name in ("plain", "extra", "deep"))
    soundfile.write(plain, samples, 48000)
    content = plain.read_bytes()
    chunk = b"LIST\x04\x00\x00\x00INFO"
    extra.write_bytes(
        content[:4] + (len(content) - 8 + len(chunk)).to_bytes(4, "little") + content[8:36] + chunk + content[36:]
    )
    soundfile.write(deep, samples, 48000, subtype="PCM_24")
    assert np.array_equal(read_stored(extra, SEGMENT), read_stored(plain, SEGMENT))
    assert np.array_equal(read_stored(plain, SEGMENT), samples / np.float32(32768))
    with pytest.raises(AudioFileError, match="stored as PCM_24"):
        read_stored(deep, SEGMENT)
    plain.write_bytes(content[:-2])
    with pytest.raises(AudioFileError, match="expected 4800"):
        read_stored(plain, SEGMENT)


SMALL_SHM = """
import sys
from pathlib import Path
from timbre_restore.loading import BlackBox, EpochBatches, Loader, TimbreRestoreDataset
data = TimbreRestoreDataset(Path(sys.argv[1]), with_noisy=True, segment=4800)
items = int(sys.argv[2])
data.pairs = (data.pairs * items)[:items]
loader = Loader(data, EpochBatches(items, 1024, seed=0), num_workers=2, prefetched=4)
print(sum(len(batch[0]) for batch in loader))
"""


def test_nothing_lies_in_shared_memory_files(wav: Path) -> None:
    """64 kB of /dev/shm are enough for batches of 90 MB, four ahead in each of two workers."""
    script = f'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "{sys.executable}" -c "$LOAD" "{wav}" 10240'
    probe = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
    if sys.platform != "linux" or subprocess.run([*probe, "mount -t tmpfs t /dev/shm"], capture_output=True).returncode:
        pytest.skip("needs unshare, and leave to mount a /dev/shm of its own")
    env = {**os.environ, "LOAD": SMALL_SHM}
    done = subprocess.run([*probe, script], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "10240\n"), done.stderr[-2000:]

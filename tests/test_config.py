"""The configuration: one schema, files that differ from it by what they say, and every problem found at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from timbre_restore.apps.prepare import corpus_spec
from timbre_restore.config import Config, load_config
from timbre_restore.errors import ConfigError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
FOLDERS = ("data.sources", "data.noise_path", "data.ir_path")


def problems_of(path: Path | None = None, overrides: tuple[str, ...] = (), folders: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, folders=folders)
    return caught.value.problems


def keys_of(content: dict[str, Any], prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for key, value in content.items():
        keys |= keys_of(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return keys


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_default_file_equals_the_code() -> None:
    assert load_config(CONFIGS / "default.yaml") == Config() == load_config(None)


def test_default_file_names_every_key() -> None:
    written = yaml.safe_load((CONFIGS / "default.yaml").read_text(encoding="utf-8"))
    assert keys_of(written) == keys_of(Config().model_dump())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.num_workers", 2),
        ("data.segment", 48_000),
        ("data.sample_rate", 48_000),
        ("data.output_dir", Path("/data/train_data_lite")),
        ("training.batch_size", 16),
        ("training.epochs", 60),
        ("training.gan_start_epoch", 15),
        ("training.scheduler.warmup_epochs", 5),
        ("training.loss_weights.l1", 3.0),
        ("training.loss_weights.multi_stft", 3.0),
        ("training.loss_weights.adversarial", 1.0),
        ("training.loss_weights.feature_matching", 2.0),
    ],
)
def test_contract_values(key: str, value: object) -> None:
    found: Any = Config()
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def test_contract_sources() -> None:
    assert [(source.path.name, source.weight, source.pattern) for source in Config().data.sources] == [
        ("wav48_silence_trimmed", 0.3, "*_mic1.flac"),
        ("wav", 0.7, None),
    ]


@pytest.mark.parametrize("name", ["cpu.yaml", "demo.yaml"])
def test_smaller_files_keep_the_corpus(name: str) -> None:
    assert corpus_spec(load_config(CONFIGS / name)).settings() == corpus_spec(Config()).settings()


@pytest.mark.parametrize("name", sorted(path.name for path in CONFIGS.glob("*.yaml")))
def test_every_file_is_valid_and_says_only_differences(name: str) -> None:
    load_config(CONFIGS / name)
    own = yaml.safe_load((CONFIGS / name).read_text(encoding="utf-8"))
    if own.pop("base", None) != "default.yaml":
        return  # the complete one; or one above another that is still being tuned
    base = Config().model_dump(mode="json")
    for key in keys_of(own):
        ours: Any = own
        theirs: Any = base
        for part in key.split("."):
            ours, theirs = ours[part], theirs[part]
        assert ours != theirs, f"{key} repeats its base"


def test_base_is_relative_to_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "ground.yaml", "seed: 7\ntraining: {epochs: 9, batch_size: 3}")
    write(tmp_path / "deep" / "middle.yaml", "base: ../ground.yaml\ntraining: {epochs: 5}")
    top = write(tmp_path / "deep" / "top.yaml", "base: middle.yaml\ntraining: {log_every_steps: 2}")
    monkeypatch.chdir("/")
    config = load_config(top)
    training = config.training
    assert (config.seed, training.epochs, training.batch_size, training.log_every_steps) == (7, 5, 3, 2)


def test_base_that_leads_back_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "base: b.yaml")
    write(tmp_path / "b.yaml", "base: a.yaml")
    assert problems_of(tmp_path / "a.yaml") == [
        f"{tmp_path}/a.yaml: 'base' leads back to this file; remove one of the 'base' keys."
    ]


def test_missing_base_names_both_files(tmp_path: Path) -> None:
    top = write(tmp_path / "top.yaml", "base: nowhere.yaml")
    (problem,) = problems_of(top)
    assert "nowhere.yaml" in problem
    assert str(top) in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not valid YAML"),
        ("seed: 0x_", "not valid YAML"),
        ("a: " + "[" * 3000, "not valid YAML"),
        ("- 1", "expected a mapping of keys to values at the top level, got list"),
        (
            "training: {epochs: 3}\nseed: 1\ntraining: {batch_size: 2}\n",
            "the name 'training' occurs twice, again in line 3",
        ),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, said: str) -> None:
    assert said in problems_of(write(tmp_path / "bad.yaml", text))[0]


def test_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path / "empty.yaml", "# nothing\n")) == Config()


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("training.batchsize=8", "'batch_size'"),
        ("trainig.epochs=3", "'training'"),
        ("epochs=3", "'training.epochs'"),
        ("data.sources=[{path: /x, wieght: 1}]", "'weight'"),
        ("training.loss_weights.multi_sfft=1", "'multi_stft'"),
    ],
)
def test_unknown_key_is_told_the_nearest_name(override: str, meant: str) -> None:
    (problem,) = problems_of(overrides=(override,))
    assert problem.startswith("--set: ")
    assert problem.endswith(f"unknown key; did you mean {meant}?")


def test_unknown_key_far_from_any_lists_what_is_known() -> None:
    (problem,) = problems_of(overrides=("suppressor.zzz=1",))
    assert problem == (
        "--set: suppressor.zzz: unknown key; expected one of: name, runtime, attenuation_limit_db, post_filter_beta."
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.epochs=many", "training.epochs: input should be a valid integer"),
        ("training.epochs=0", "training.epochs: input should be greater than or equal to 1, got 0"),
        ("training.epochs=true", "training.epochs: expected no boolean, got true (YAML also reads a bare yes"),
        ("training=5", "training: expected a section with the keys epochs, steps, "),
        ("data.snr_db=[10, 0]", "data.snr_db: expected [low, high] with low ≤ high, got [10.0, 0.0]"),
        ("data.snr_db=[.nan, 0]", "data.snr_db.0: input should be a finite number"),
        ("data.segment=48001", "data.segment: input should be a multiple of 480"),
        ("data.output_dir=/a|b", "data.output_dir: must not contain '|' or a line break"),
        ("data.sources=[]", "data.sources: list should have at least 1 item"),
        ("data.sources.0.path=/x", "data.sources: input should be a valid list"),
        ("training.betas=[0.9, 1.0]", "training.betas.1: input should be less than 1"),
        ("training.loss_weights={l1: 0, multi_stft: 0}", "l1, multi_stft, compressed and mel are all 0"),
        ("model={name: unet, conditioning: degraded+noisy+hints}", "model.conditioning: hints are supported by"),
        ("model.name=unet", "model.conditioning: hints are supported by"),
        ("training.long_segments.window_s=0.01", "window_s: input should be greater than or equal to 0.5"),
        ("discriminators.channels=6", "discriminators.channels: input should be a multiple of 4"),
        ("discriminators.windows=[513]", "discriminators.windows.0: input should be a multiple of 2"),
        (
            "discriminators.windows=[512, 48002]",
            "discriminators: windows: expected at most 24576 samples, which is what discriminators see",
        ),
        ("training.output_dir=~nobody-of-this-name/x", "training.output_dir: the home folder in"),
        ("1=2", "1: unknown key"),
        ("seed=4294967296", "seed: "),
        ("model={size: tiny, size: base}", "not valid YAML"),
        ("seed", "expected key=value"),
        ("=3", "expected key=value"),
        ("seed=[", "not valid YAML"),
        ("data.val_speakers=[2024-02-30]", "not valid YAML"),
        ("seed=!!int abc", "not valid YAML"),
    ],
)
def test_wrong_values_are_named(override: str, said: str) -> None:
    problems = problems_of(overrides=(override,))
    assert len(problems) == 1
    assert said in problems[0]


def test_all_problems_at_once(tmp_path: Path) -> None:
    """Misspelled key, wrong type, and each missing folder, in one answer that names file and key."""
    file = write(
        tmp_path / "mine.yaml",
        f"data:\n  sources: [{{path: {tmp_path}}}, {{path: {tmp_path}/speech}}]\n  noise_path: {tmp_path}/noise\n"
        "training: {epoch: 3, batch_size: few}\n",
    )
    problems = problems_of(file, ("model.size=3", f"data.ir_path={tmp_path}/rooms"), FOLDERS)
    assert [problem.split(":")[:2] for problem in problems] == [
        ["--set", " model.size"],
        [str(file), " training.batch_size"],
        [str(file), " training.epoch"],
        [str(file), " data.sources.1.path"],
        [str(file), " data.noise_path"],
        ["--set", " data.ir_path"],
    ]
    assert "no such folder" in problems[3]


def test_folders_that_exist_pass(tmp_path: Path) -> None:
    overrides = (f"data.sources=[{{path: {tmp_path}}}]", f"data.noise_path={tmp_path}", "data.ir_path=null")
    config = load_config(None, overrides, folders=FOLDERS)
    assert config.data.ir_path is None


def test_override_parses_yaml_and_replaces_lists() -> None:
    config = load_config(
        CONFIGS / "default.yaml",
        (
            "data.sources=[{path: /voices}]",
            "data.val_speakers=[p225, 'SSB*']",
            "training.learning_rate=1e-4",
            "training.loss_weights={l1: 0}",
            "training.epochs=2",
            "training.epochs=3",
            "training.mixed_precision=no",
        ),
    )
    (source,) = config.data.sources
    assert (source.path, source.weight, source.pattern) == (Path("/voices"), 1.0, None)
    assert config.data.val_speakers == ["p225", "SSB*"]
    assert config.training.learning_rate == 1e-4
    assert config.training.loss_weights.l1 == 0
    assert config.training.loss_weights.multi_stft == 3.0  # mappings merge key by key
    assert config.training.epochs == 3  # the last one wins
    assert config.training.mixed_precision == "no"


def test_home_is_the_same_folder_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "sounds").mkdir()
    keys = ("data.noise_path", "data.ir_path", "data.output_dir", "training.output_dir")
    overrides = ("data.sources=[{path: ~/sounds}]", *(f"{key}=~/sounds" for key in keys))
    config = load_config(None, overrides, folders=FOLDERS)
    found = [config.data.sources[0].path, config.data.noise_path, config.data.ir_path]
    assert {*found, config.data.output_dir, config.training.output_dir} == {tmp_path / "sounds"}

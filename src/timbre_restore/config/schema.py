"""The schema: the only source of names, defaults and ranges."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

Conditioning = Literal["degraded", "degraded+noisy", "degraded+noisy+hints"]
SuppressorName = Literal["dfn3", "rnnoise", "dtln", "spectral_gate"]


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"expected [low, high] with low ≤ high, got {list(value)}")
    return value


def _listable(value: Path) -> Path:
    if "|" in str(value) or "\n" in str(value):
        raise ValueError("must not contain '|' or a line break, because lines of a list are 'degraded|clean'")
    return value


def expanded(path: Path) -> Path:
    """The path with `~` expanded to the home folder."""
    try:
        return path.expanduser()
    except RuntimeError as exc:
        raise ValueError(f"the home folder in {path} is unknown; give the full path") from exc


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
Level = Annotated[float, Field(le=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: Any) -> Any:
        # YAML reads yes, no, on and off as booleans, which Python would accept as 1 and 0. No key is a boolean.
        if isinstance(value, bool):
            raise ValueError(
                f"expected no boolean, got {str(value).lower()} (YAML also reads a bare yes, no, on or off as one; "
                "quote the word if you mean it)"
            )
        return value

    @field_validator("*")
    @classmethod
    def _home(cls, value: Any) -> Any:
        # Expanded only here, so that `~` is the same folder for every command.
        return expanded(value) if isinstance(value, Path) else value


class Source(_Section):
    """A folder of clean speech; a file's parent folder names its speaker."""

    path: Path
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Share of the recordings, relative to the other sources."""
    pattern: str | None = None
    """File name pattern, e.g. `*_mic1.flac`; null takes every wav and flac file below `path`."""


class DrawnSuppressor(_Section):
    """One of several suppressors to prepare takes with."""

    name: SuppressorName = "dfn3"
    weight: Annotated[float, Field(gt=0)] = 1.0
    """How often it is drawn, relative to the others."""
    runtime: Literal["graphs", "official"] = "graphs"
    attenuation_limit_db: Annotated[float, Field(gt=0, le=100)] = 100.0
    post_filter_beta: Annotated[float, Field(ge=0, le=0.1)] = 0.0


class Variety(_Section):
    """Probabilities of unusual conditions in a take."""

    two_noises: Probability = 0.2
    clean_input: Probability = 0.05
    """No noise at all."""
    made_noise: Probability = 0.15
    """Synthetic instead of recorded noise: coloured, modulated, tonal, impulsive or musical; not in validation."""
    varied_noise: Probability = 0.5
    """Recorded noise at another speed, filtered, sometimes reversed; not in validation."""
    varied_voice: Probability = 0.0
    """The recording at another speed (pitch and formants shift) and filtered: for few speakers; not in validation."""
    made_room: Probability = 0.0
    """Of the takes in a room, the share in a synthetic instead of a measured one; not in validation."""
    pause: Probability = 0.1
    """One to four seconds without voice are inserted."""
    band_limit: Probability = 0.05
    """Input and target are low-passed at 3.4 to 15 kHz."""
    silent_items: Probability = 0.25
    """Share of the items with almost no voice (in less than a tenth of their duration) that is kept."""


class Data(_Section):
    """What the corpus is made of. `num_workers`, `passes` and `output_dir` do not affect the content of an item."""

    sources: Annotated[list[Source], Field(min_length=1)] = [
        Source(path=Path("/data/VCTK-Corpus-0.92/wav48_silence_trimmed"), weight=0.3, pattern="*_mic1.flac"),
        Source(path=Path("/data/AISHELL-3/train/wav"), weight=0.7),
    ]
    noise_path: Path | None = Path("/data/noise")
    """Noise recordings, read recursively; null: synthetic noise only."""
    ir_path: Path | None = Path("/data/rooms")
    """Room impulse responses, read recursively; null: synthetic rooms only."""
    output_dir: Annotated[Path, AfterValidator(_listable)] = Path("/data/train_data_lite")
    num_workers: Annotated[int, Field(ge=0)] = 2
    """Worker processes for preparing and for loading; 0 does the work in the main process."""
    passes: Annotated[int, Field(ge=1)] = 1
    """How many times each recording is used, each time with a different noise, room and levels."""
    sample_rate: Literal[48000] = 48000
    segment: Annotated[int, Field(ge=4800, multiple_of=480)] = 48000
    """Length of an item in samples."""
    snr_db: Range = (-5.0, 40.0)
    speech_level_dbfs: Annotated[tuple[Level, Level], AfterValidator(_ascending)] = (-45.0, -15.0)
    room_probability: Probability = 0.5
    variety: Variety = Variety()
    suppressors: Annotated[list[DrawnSuppressor], Field(min_length=1)] | None = None
    """What takes are prepared with, drawn by weight; null: the one under `suppressor`."""
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the speakers, noises and rooms held out for validation, where no list names them."""
    val_speakers: list[str] | None = None
    val_noises: list[str] | None = None
    val_rooms: list[str] | None = None
    """Names (folder, or file name without suffix; `*` allowed); when given, exactly these form the validation side."""
    format: Literal["wav", "flac", "packed"] = "wav"
    """One 16-bit file per signal (`wav`, `flac`), or `packed`: few large files, for large corpora and slow disks."""
    random_gain_db: Annotated[float, Field(ge=0, le=24)] = 0.0
    """Training changes each item's level anew in every epoch, by at most this much; 0: off."""


class Suppressor(_Section):
    """The noise suppressor whose output is to be restored."""

    name: SuppressorName = "dfn3"
    runtime: Literal["graphs", "official"] = "graphs"
    """`graphs` processes whole stretches at once; `official` is the installed release: the reference, but slower."""
    attenuation_limit_db: Annotated[float, Field(gt=0, le=100)] = 100.0
    """100 means no limit."""
    post_filter_beta: Annotated[float, Field(ge=0, le=0.1)] = 0.0


class Model(_Section):
    """The generator."""

    name: Literal["spectral", "unet", "reference"] = "spectral"
    """`spectral` works on the suppressor's own spectrum, `unet` on waveforms; `reference` is for comparison only."""
    size: Literal["tiny", "small", "base"] = "small"
    conditioning: Annotated[Conditioning, Field(validate_default=True)] = "degraded+noisy+hints"
    """Its inputs; hints are the suppressor's own gains and local SNR, which only `spectral` supports."""

    @field_validator("conditioning")
    @classmethod
    def _hints_are_taken(cls, value: str, info: ValidationInfo) -> str:
        if "hints" in value and info.data.get("name") not in (None, "spectral"):
            raise ValueError(
                "hints are supported by the generator 'spectral' only; expected degraded or degraded+noisy"
            )
        return value


class Discriminators(_Section):
    """The networks that judge the restored voice in the GAN phase."""

    names: Annotated[list[Literal["mpd", "mrd", "msd"]], Field(min_length=1)] = ["mpd", "mrd"]
    periods: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)] = [2, 3, 5, 7, 11]
    windows: Annotated[list[Annotated[int, Field(ge=64, multiple_of=2)]], Field(min_length=1)] = [2048, 1024, 512]
    """STFT windows in samples, none longer than `data.segment`."""
    channels: Annotated[int, Field(ge=4, multiple_of=4)] = 32
    """Width of the first layer; the others scale with it."""
    loss: Literal["hinge", "lsgan"] = "hinge"
    segment: Annotated[int, Field(ge=0)] = 24576
    """Samples of each item that they see, from a position drawn anew in every epoch; 0: all."""
    every: Annotated[int, Field(ge=1)] = 1
    """They are updated in every n-th step of the GAN phase; the generator learns from them in each."""
    precision: Literal["same", "bf16"] = "same"
    """The same as `training.mixed_precision`, or bf16 for the discriminators only."""
    layout: Literal["channels_last", "contiguous"] = "channels_last"
    """Memory layout of their feature maps; affects speed only."""


class LossWeights(_Section):
    """Weights by name; a loss at weight 0 is not computed."""

    l1: Annotated[float, Field(ge=0)] = 3.0
    multi_stft: Annotated[float, Field(ge=0)] = 3.0
    adversarial: Annotated[float, Field(ge=0)] = 1.0
    feature_matching: Annotated[float, Field(ge=0)] = 2.0
    compressed: Annotated[float, Field(ge=0)] = 0.0
    """On the complex spectrum with magnitudes raised to the power of 0.3."""
    over_attenuation: Annotated[float, Field(ge=0)] = 0.0
    """On what is missing from that spectrum, but not on excess."""
    silence: Annotated[float, Field(ge=0)] = 0.0
    """On excess in that spectrum where the clean voice is silent: the counterweight to `over_attenuation`."""
    mel: Annotated[float, Field(ge=0)] = 0.0
    """On mel bands at seven resolutions."""
    perceptual: Annotated[float, Field(ge=0)] = 0.0
    """On loudness up to 8 kHz, as modelled in PESQ: what was added counts more than what is missing."""
    cells: Annotated[float, Field(ge=0)] = 0.0
    """On voice levels per ERB band and 10 ms, weighted equally up to 20 kHz."""

    @model_validator(mode="after")
    def _something_before_the_gan(self) -> LossWeights:
        if self.l1 == 0 and self.multi_stft == 0 and self.compressed == 0 and self.mel == 0:
            raise ValueError(
                "l1, multi_stft, compressed and mel are all 0, which leaves nothing to learn from; set at least one of "
                "them above 0"
            )
        return self


class Scheduler(_Section):
    """Learning rate: linear warm-up, then cosine decay to `final_factor` of the peak."""

    warmup_epochs: Annotated[int, Field(ge=0)] = 5
    final_factor: Annotated[float, Field(gt=0, le=1)] = 0.02


class LongSegments(_Section):
    """Fine-tuning in the last epochs on segments made of many items: trains with the state of a long-running stream."""

    epochs: Annotated[int, Field(ge=0)] = 0
    """How many, at the end of the run."""
    seconds: Annotated[float, Field(gt=0)] = 30.0
    """Length of a segment: as many consecutive items of the list as fit."""
    batch_size: Annotated[int, Field(ge=1)] = 2
    """Segments per process and step."""
    window_s: Annotated[float, Field(ge=0.5)] = 5.0
    """Gradients reach back this far at most; the state is carried over. A segment is split into about equal windows."""


class Training(_Section):
    """The run."""

    epochs: Annotated[int, Field(ge=1)] = 60
    steps: Annotated[int, Field(ge=1)] | None = None
    """The length in steps instead; the phases keep their shares of `epochs`."""
    hours: Annotated[float, Field(gt=0)] | None = None
    """Or the length in hours, converted to steps once, from measured speed."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Items per process and step."""
    gan_start_epoch: Annotated[int, Field(ge=0)] = 15
    gan_ramp_epochs: Annotated[float, Field(ge=0)] = 1.0
    """Epochs in which the adversarial losses rise to their weights; 0 starts at full weight."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Optimiser of the generator: `muon` updates its matrices by orthogonal steps; the discriminators use AdamW."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    discriminator_learning_rate: Annotated[float, Field(gt=0)] = 2e-4
    betas: tuple[Momentum, Momentum] = (0.8, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    black_box_share: Probability = 0.25
    """Share of the items trained without hints, as behind a black-box suppressor."""
    gradient_clip: Annotated[float, Field(gt=0)] = 5.0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    loss_weights: LossWeights = LossWeights()
    scheduler: Scheduler = Scheduler()
    long_segments: LongSegments = LongSegments()
    start_from: Path | None = None
    """A run or checkpoint whose averaged generator the run starts from; null for fresh weights."""
    freeze: list[str] = []
    """Names of generator tensors that are not trained, `*` allowed: `enter.*`, `by_band.*`."""
    mixed_precision: Literal["no", "bf16"] = "no"
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads for all training processes of a machine together; 0 leaves the choice to torch."""
    best_metric: Literal["val_multi_stft", "val_l1"] = "val_multi_stft"
    """The one number that decides which checkpoint is `best`; lower is better."""
    output_dir: Path = Path("runs/default")
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 10.0
    """Also write a checkpoint within an epoch after this long; 0 writes one per epoch only."""
    log_every_steps: Annotated[int, Field(ge=1)] = 10
    trackers: list[Literal["tensorboard", "wandb"]] = ["tensorboard"]
    """Where curves, audio and spectrograms go besides the run's log and page; may be empty."""
    validation_batches: Annotated[int, Field(ge=0)] = 0
    """Maximum number of validation batches per epoch and process; 0 takes all."""

    @model_validator(mode="after")
    def _one_length(self) -> Training:
        if self.steps is not None and self.hours is not None:
            raise ValueError("steps and hours are both set; set only one of them")
        return self

    @field_validator("mixed_precision", mode="before")
    @classmethod
    def _bare_no(cls, value: Any) -> Any:
        return "no" if value is False else value


class Config(_Section):
    """Everything a command needs to know."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    data: Data = Data()
    suppressor: Suppressor = Suppressor()
    model: Model = Model()
    discriminators: Discriminators = Discriminators()
    training: Training = Training()

    @field_validator("discriminators")
    @classmethod
    def _windows_fit(cls, value: Discriminators, info: ValidationInfo) -> Discriminators:
        data = info.data.get("data")
        if data is None:
            return value
        heard = min(value.segment or data.segment, data.segment)
        if max(value.windows) > heard:
            raise ValueError(
                f"windows: expected at most {heard} samples, which is what discriminators see of an item (the smaller "
                f"of segment and data.segment), got {max(value.windows)}"
            )
        return value

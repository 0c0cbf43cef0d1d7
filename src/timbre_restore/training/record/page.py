"""The page of a run, `<run>/run.html`: how it ended, how to continue, what it did; built from its folder alone."""

from __future__ import annotations

import json
import shlex
from html import escape
from pathlib import Path
from typing import Any

from timbre_restore.atomic import write_text
from timbre_restore.pages import head, table
from timbre_restore.training.record.account import Account, is_number, read_account, value_of
from timbre_restore.training.record.clock import duration, epochs_text
from timbre_restore.training.record.curves import figures

ROWS = 200
"""Maximum number of rows in a table; nobody would read a page of a thousand epochs."""


def write_page(run: Path) -> Path:
    """Write `<run>/run.html` by rename from the content of the folder; also possible while the run is in progress."""
    path = run / "run.html"
    write_text(path, page(read_account(run)))
    return path


def page(account: Account) -> str:
    """The whole page as HTML."""
    how, kind = _how(account)
    parts = [
        head(f"run {account.run.name}"),
        f'<body><main>\n<h1>Run {escape(account.run.name)}: <span class="{kind}">{how}</span></h1>\n',
        f'<p class="lead">{escape(_story(account))}</p>\n',
        _said(account),
        _events(account),
        _commands(account),
        figures(account),
        _facts(account),
        _epochs(account),
        _changed(account),
        "</main></body>\n</html>\n",
    ]
    return "".join(parts)


def _ended(account: Account) -> dict[str, Any]:
    """How the run ended, from `run.json`; empty for a run that was killed or is in progress."""
    return account.record.get("ended") or {}


def _how(account: Account) -> tuple[str, str]:
    """How the run ended in words, and the CSS class that rates it."""
    how = _ended(account).get("how")
    if how is None and account.is_done:
        how = "finished"
    words = {"finished": ("finished", "good"), "interrupted": ("interrupted", "warm"),
             "stopped": ("stopped by a rule", "bad"), "failed": ("failed", "bad")}  # fmt: skip
    return words.get(str(how), ("no end recorded", "warm"))


def _epochs_of(account: Account) -> str:
    """Completed epochs, of those planned."""
    planned = account.plan("epochs")
    return epochs_text(account.epochs_done) + (f" of {epochs_text(planned)}" if planned else "")


def _story(account: Account) -> str:
    """Two or three sentences: how much was done, and the result."""
    parts = [f"{_epochs_of(account)} epochs completed, {account.step:,} steps"]
    if account.seconds is not None:
        parts.append(f"in {duration(account.seconds)}")
    if (account.record.get("parts") or 1) > 1:
        parts.append(f"and {account.record['parts']} parts")
    sentences = [" ".join(parts) + "."]
    if not _ended(account) and account.record and "ended" in account.record:
        sentences.append("The process was killed or is still running: the run has not recorded how it ended.")
    if best := _best(account):
        sentences.append(best)
    return " ".join(sentences)


def _best(account: Account) -> str:
    """A sentence on the best checkpoint compared with the suppressor's own value; empty if there is none."""
    if not account.best:
        return ""
    name = account.plan("best_metric") or "val_multi_stft"
    metrics = account.best.get("metrics") or {}
    text = f"Best checkpoint: epoch {account.best.get('epoch')} ({account.best['folder']})"
    if not is_number(value := metrics.get(name)):
        return f"{text}."
    text += f", {name} {value:.4f}"
    if is_number(alone := metrics.get(f"{name}_degraded")) and alone:
        change = 100.0 * (value / alone - 1.0)
        text += (
            f"; the suppressor's own is {alone:.4f}, so this is {abs(change):.0f} % {'less' if change < 0 else 'more'}"
        )
    return f"{text}."


def _said(account: Account) -> str:
    """The final message of a run that did not finish."""
    if not (said := str(_ended(account).get("said") or "")):
        return ""
    return f'<section class="alarm"><h2>Final message</h2>\n<p>{escape(said)}</p></section>\n'


def _events(account: Account) -> str:
    if not account.events:
        return ""
    keys = ("rule", "seen", "likely", "change", "action")
    rows = [[f"{e['step']:,}", *(escape(str(e.get(key, ""))) for key in keys)] for e in account.events[-ROWS:]]
    columns = ["step", "rule", "what was seen", "what it likely means", "what to change", "what was done"]
    return f'<h2>Events</h2>\n<div class="words">{table(columns, rows)}</div>\n{_only(rows, account.events)}'


def _twice_as_long(account: Account, planned: float) -> str:
    """Options that double a run, in the unit in which its length was given; planned hours become steps."""
    given = account.record.get("settings", {}).get("training", {})
    if given.get("steps") is None and given.get("hours") is None:
        return f"--set training.epochs={2 * int(planned)}"
    steps = f"--set training.steps={round(2 * planned * account.plan('epoch_steps'))}"
    return steps if given.get("hours") is None else f"--set training.hours=null {steps}"


def _commands(account: Account) -> str:
    run = account.run.resolve()
    word = shlex.quote
    processes = account.plan("processes") or 1
    door = "timbre-restore train" if processes == 1 else f"torchrun --nproc_per_node={processes} train.py"
    parts = ["<h2>How to continue</h2>\n"]
    if account.last and (run / "config.yaml").is_file():
        moved = account.record.get("place") not in (None, str(run))
        place = f" --set {word(f'training.output_dir={json.dumps(str(run))}')}" if moved else ""
        go_on = f"{door} --config {word(str(run / 'config.yaml'))} --resume auto{place}"
        planned = account.plan("epochs")
        if planned is None or account.is_done:
            longer = _twice_as_long(account, planned or account.epochs_done)
            parts.append(_command("Train for the same length again", f"{go_on} {longer}"))
        else:
            parts.append(_command(f"Continue from step {account.last.get('step')}", go_on))
    if account.last:
        which = "" if account.best else " --which last"
        model = word(str(run / "voice.onnx"))
        parts.append(_command("Export the voice", f"timbre-restore export {word(str(run))}{which} -o {model}"))
        if corpus := account.record.get("corpus"):
            pairs, html = word(str(Path(str(corpus)) / "val.txt")), word(str(run / "evaluation.html"))
            line = f"timbre-restore evaluate --list {pairs} --model {model} --html {html}"
            parts.append(_command("Evaluate it on the validation list", line))
    else:
        parts.append("<p>No checkpoint was written: nothing can be continued or exported.</p>\n")
    if (run / "tensorboard").is_dir():
        board = f"tensorboard --logdir {word(str(run / 'tensorboard'))}"
        parts.append(_command("Curves, sounds and spectrograms of validation items", board))
    return "".join(parts)


def _command(what: str, line: str) -> str:
    return f"<p>{escape(what)}:</p><pre>{escape(line)}</pre>\n"


def _facts(account: Account) -> str:
    record, order = account.record, account.record.get("order") or {}
    sections = {
        "The run": {
            "epochs": _epochs_of(account),
            "steps": f"{account.step:,}",
            "items seen": _items_seen(account),
            "time": "–" if account.seconds is None else duration(account.seconds),
            "batches/s before the GAN": _number(account.batches_per_s(gan=False)),
            "batches/s with the GAN": _number(account.batches_per_s(gan=True)),
            **{f"parameters, {name}": f"{count:,}" for name, count in (record.get("parameters") or {}).items()},
            "events": f"{len(account.events)}",
        },
        "The data": {
            "corpus": str(record.get("corpus") or "–"),
            "items for training": _count(order.get("items")),
            "items per step": _count(order.get("joined_batch")),
            "fingerprint of the list": str(order.get("corpus") or "–"),
            "seed": str(order.get("seed", "–")),
        },
        "Software": {str(name): str(version) for name, version in (record.get("software") or {}).items()},
    }
    groups = "".join(
        f'<section class="facts"><h3>{name}</h3>\n'
        + table([], [[escape(key), escape(text)] for key, text in facts.items()])
        + "</section>\n"
        for name, facts in sections.items()
        if facts
    )
    return f'<h2>Figures</h2>\n<div class="groups">{groups}</div>\n'


def _items_seen(account: Account) -> str:
    order = account.record.get("order") or {}
    items, batch, steps = order.get("items"), order.get("joined_batch"), account.plan("epoch_steps")
    if not (items and batch):
        return "–"
    if not steps:
        return f"about {account.step * batch:,}"
    # The last batch of an epoch may be short.
    return f"{account.step // steps * items + min(account.step % steps * batch, items):,}"


def _epochs(account: Account) -> str:
    if not account.epochs:
        return ""
    first = ("val_multi_stft", "val_multi_stft_degraded", "val_l1", "val_l1_degraded", "multi_stft", "l1")
    last = ("epoch", "kind", "step", "seconds", "batches_per_s")
    present = {key: None for entry in account.epochs for key in entry}
    names = [name for name in first if name in present]
    names += [name for name in present if name not in (*first, *last)]
    rows = []
    for entry in account.epochs[-ROWS:]:
        mark = " ← best" if account.best and entry["step"] == account.best.get("step") else ""
        cells = [f"{value_of(entry[name]):.4f}" if name in entry else "" for name in names]
        rows.append([f"{epochs_text(entry['epoch']) if 'epoch' in entry else ''}{mark}", f"{entry['step']:,}", *cells])
    columns = ["epoch", "step", *(escape(name) for name in names)]
    return f"<h2>Epochs</h2>\n{table(columns, rows)}{_only(rows, account.epochs)}"


def _changed(account: Account) -> str:
    """The settings that differ from the defaults."""
    if (changed := account.record.get("changed")) is None:
        return ""
    if not changed:
        return "<h2>Configuration</h2>\n<p>All settings are at their defaults.</p>\n"
    rows = [[escape(key), *(escape(_json(values.get(side))) for side in ("value", "default"))]
            for key, values in changed.items()]  # fmt: skip
    return (
        f'<h2>Configuration</h2>\n<p>What differs from the defaults:</p><div class="words">'
        f"{table(['key', 'here', 'default'], rows)}</div>\n"
    )


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _only(rows: list[list[str]], entries: list[dict[str, Any]]) -> str:
    return "" if len(rows) == len(entries) else f"<p><small>The last {len(rows)} of {len(entries)}.</small></p>\n"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"

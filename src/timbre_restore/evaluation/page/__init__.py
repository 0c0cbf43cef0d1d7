"""The evaluation as an HTML file to read and to listen to, which works without a network.

It is self-contained unless it would grow too large: then it loads files from a folder beside it.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from timbre_restore.atomic import write_text
from timbre_restore.evaluation import summary, words
from timbre_restore.evaluation.page.articles import listen, script
from timbre_restore.evaluation.page.beside import Beside, files_beside
from timbre_restore.evaluation.page.pictures import require_matplotlib
from timbre_restore.evaluation.page.tables import broken_down, items, means, operating_curve
from timbre_restore.evaluation.results import Evaluation
from timbre_restore.pages import bullets, head, table

__all__ = ["files_beside", "page", "write_page"]


def write_page(evaluation: Evaluation, path: Path) -> None:
    """Write the page to `path` by rename, after writing whatever does not fit into it to `files_beside(path)`.

    Raises `MissingExtraError` if the spectrograms can't be drawn.
    """
    require_matplotlib()
    beside = Beside(path)
    text = page(evaluation, beside)
    beside.write()
    write_text(path, text)
    beside.sweep()


def page(evaluation: Evaluation, beside: Beside) -> str:
    """The whole page as HTML; `beside` holds the files that the page only links to."""
    lines = words.missing_sentences(evaluation)
    judged = evaluation.has_references
    articles = listen(evaluation, beside)
    parts = [
        head("evaluation", script=script(), with_files=bool(beside.files)),
        f'<body><main data-restored="{escape(evaluation.restored)}">\n<h1>Evaluation</h1>\n',
        f'<p class="lead">{escape(words.sentence(evaluation))}</p>\n',
        bullets(
            [words.worse_sentence(evaluation, name) for name in summary.compared_systems(evaluation)] if judged else []
        ),
        _failures(evaluation),
        means(evaluation),
        f"<h2>What these figures don't say</h2>\n{bullets(words.unclaimed(evaluation))}",
        f"<h2>Not available</h2>\n{bullets(lines)}" if lines else "",
        operating_curve(evaluation),
        broken_down(evaluation),
        articles,
        items(evaluation),
        f"</main>\n<script>{script()}</script></body>\n</html>\n",
    ]
    return "".join(parts)


def _failures(evaluation: Evaluation) -> str:
    if not evaluation.failures:
        return ""
    rows = [[escape(f.stem), escape(f.system), escape(f.reason)] for f in evaluation.failures]
    return f'<section class="alarm"><h2>Failures</h2>\n{table(["item", "system", "problem"], rows)}</section>\n'

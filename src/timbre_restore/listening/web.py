"""The page of a test as one HTML file with its style and script inside; it talks only to its own server."""

from __future__ import annotations

from importlib import resources

from timbre_restore.listening.plan import CCR, MUSHRA
from timbre_restore.pages import head

BANDS = ("Excellent", "Good", "Fair", "Poor", "Bad")
CATEGORIES = {
    3: "Much better",
    2: "Better",
    1: "Slightly better",
    0: "About the same",
    -1: "Slightly worse",
    -2: "Worse",
    -3: "Much worse",
}


def page_html(kind: str) -> str:
    """The page for one kind of test. It asks the server for the trials."""
    script = _part("player.js") + _part("listen.js")
    top = head("listening test", script=script, served=True).replace(
        "</head>", f'<link rel="icon" href="data:,">\n<style>\n{_part("listen.css")}</style>\n</head>'
    )
    body = _part("listen.html").replace("BANDS", _bands()).replace("CATEGORIES", _categories())
    # Each kind has its own text; the other kind's text is cut out, not just hidden.
    for other in {MUSHRA, CCR} - {kind}:
        while (start := body.find(f"<!--{other}-->")) >= 0:
            end = body.index("<!--/-->", start)
            body = body[:start] + body[end + len("<!--/-->") :]
    return f"{top}{body}<script>{script}</script>\n</body>\n</html>\n"


def _bands() -> str:
    return "".join(f"<span>{name}</span>" for name in BANDS)


def _categories() -> str:
    lines = []
    for value, words in CATEGORIES.items():
        shown = f"{value:+d}".replace("-", "−") if value else "0"
        lines.append(f'<label><input type="radio" name="category" value="{value}"> <b>{shown}</b> {words}</label>')
    return "\n".join(lines)


def _part(name: str) -> str:
    return (resources.files("timbre_restore.listening") / "page" / name).read_text(encoding="utf-8")

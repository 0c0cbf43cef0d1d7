"""The head of the page: its policy forbids every load, its colours follow the reader's light or dark setting."""

from __future__ import annotations

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'">
<title>Timbre Restore: evaluation</title>
<style>
:root { color-scheme: light dark; --ink: #1c1d20; --soft: #5c6068; --ground: #ffffff; --panel: #f5f5f7;
  --line: #d9dade; --good: #12693a; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e7ea; --soft: #a2a6ae; --ground: #16171a;
  --panel: #202226; --line: #3a3d43; --good: #6fcf97; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; margin: 0 0 .75rem; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .5rem; }
h3 { font-size: 1.05rem; margin: 0 0 .75rem; overflow-wrap: anywhere; }
.lead { font-size: 1.1rem; max-width: 62rem; }
small { color: var(--soft); font-size: .82rem; font-weight: normal; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child { text-align: left; padding-left: 0; }
thead th { white-space: normal; color: var(--soft); font-weight: 600; font-size: .85rem; vertical-align: bottom; }
tbody th { font-weight: 500; }
.good { color: var(--good); } .bad { color: var(--bad); } .even { color: var(--soft); }
article { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.1rem;
  margin: 1rem 0; }
.alarm { border: 2px solid var(--bad); border-radius: 8px; padding: 0 1.1rem .5rem; margin-top: 1.5rem; }
.alarm th, .alarm td { text-align: left; }
.alarm h2 { color: var(--bad); margin-top: .8rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(12.4rem, 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-weight: 600; margin-bottom: .5rem; }
.plot { display: flex; height: 11rem; }
.plot img { flex: 1; min-width: 0; height: 100%; display: block; }
.khz { position: relative; width: 2.9rem; color: var(--soft); font-size: .72rem; }
.khz i { position: absolute; right: .35rem; white-space: nowrap;
  transform: translateY(50%); font-style: normal; line-height: 1; }
.time { display: flex; justify-content: space-between; color: var(--soft); font-size: .72rem; padding-left: 2.9rem; }
audio { width: 100%; height: 2.2rem; margin-top: .35rem; }
.legend { white-space: nowrap; }
.scale { width: 9rem; height: .7rem; vertical-align: baseline; }
@media (max-width: 60rem) { th small { display: block; } tbody th { white-space: normal; min-width: 8rem; } }
details { margin-top: .75rem; } summary { cursor: pointer; }
</style>
</head>
"""

"""The page that a report is: one file, readable on light and dark screens, wide and narrow ones, that asks the network for nothing."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.analysis.plots.theme import DARK, LIGHT, plotly

__all__ = ["Section", "Table", "page"]


@dataclass(slots=True)
class Table:
    """Plain texts in rows; they are escaped where they are written."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(slots=True)
class Section:
    """A part of the page.

    Args:
        key: what links lead to.
        title, text: for people.
        figure: a Plotly figure as JSON, already without title; width: the narrowest that it can be read at, in pixels.
        table: beside or instead of it.
    """

    key: str
    title: str
    text: str = ""
    figure: dict[str, Any] | None = None
    width: int = 320
    table: Table | None = field(default=None)


def page(title: str, facts: Mapping[str, str], sections: Sequence[Section], missing: Mapping[str, str]) -> str:
    """The whole file.

    Args:
        title: the experiment's name.
        facts: what stands at the top, name -> value.
        sections: in order.
        missing: title of a plot -> why it is not there.
    """
    links = "".join(f'<li><a href="#{_safe(one.key)}">{_safe(one.title)}</a></li>' for one in sections)
    body = "".join(map(_section, sections))
    absent = "".join(f"<li><b>{_safe(name)}</b>: {_safe(why)}</li>" for name, why in missing.items())
    if absent:
        links += '<li><a href="#missing">What is not here</a></li>'
        body += f'<section id="missing"><h2>What is not here</h2><ul>{absent}</ul></section>'
    figures = {one.key: one.figure for one in sections if one.figure is not None}
    known = "".join(f"<dt>{_safe(name)}</dt><dd>{_safe(value)}</dd>" for name, value in facts.items())
    library = str(plotly("plotly.offline").get_plotlyjs()) if figures else ""
    return _PAGE.format(
        title=_safe(title),
        style=_STYLE,
        facts=known,
        links=links,
        body=body,
        library=library,
        data=_json({"figures": figures, "light": LIGHT, "dark": DARK}),
        script=_SCRIPT if figures else "",
    )


def _section(one: Section) -> str:
    parts = [f'<section id="{_safe(one.key)}"><h2>{_safe(one.title)}</h2>']
    if one.text:
        parts.append(f"<p>{_safe(one.text)}</p>")
    if one.figure is not None:
        height = int(one.figure["layout"].get("height", 460))
        size = f"min-width:{one.width}px;height:{height}px"
        parts.append(f'<div class="wide"><div class="plot" data-figure="{_safe(one.key)}" style="{size}"></div></div>')
    if one.table is not None:
        parts.append(_table(one.table))
    return "".join([*parts, "</section>"])


def _table(table: Table) -> str:
    head = "".join(f"<th>{_safe(name)}</th>" for name in table.head)
    rows = "".join("<tr>" + "".join(f"<td>{_safe(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _safe(text: str) -> str:
    return html.escape(text, quote=True)


def _json(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it can end that."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; \
style-src 'unsafe-inline'; img-src data: blob:; font-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><dl>{facts}</dl></header>
<nav aria-label="Contents"><ul>{links}</ul></nav>
<main>{body}</main>
<script>{library}</script>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""

_STYLE = """
:root { --page: #ffffff; --text: #24292f; --faint: #5b6570; --line: #d5dae0; --link: #1b6aa5; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14181d; --text: #e3e7eb; --faint: #a3adb8; --line: #363d45; --link: #6fb4e8; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 1.2rem 1.2rem 4rem; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .8rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 .3rem; }
p { margin: 0 0 .6rem; color: var(--faint); max-width: 75ch; }
a { color: var(--link); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 0; }
dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: .8rem 0; margin: 1rem 0 0;
  border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); }
section { padding-top: 1.8rem; scroll-margin-top: .5rem; }
.wide { overflow-x: auto; }
.plot { width: 100%; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; vertical-align: top;
  max-width: 30rem; overflow: hidden; text-overflow: ellipsis; }
th { color: var(--faint); font-weight: 600; }
@media (max-width: 640px) {
  body { padding: .8rem .7rem 3rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .35rem; }
}
@media print { nav { display: none; } section { break-inside: avoid; } }
"""

# A figure is drawn as it comes near the window. Browsers lend a page few WebGL contexts: a figure that uses them gives them back when it
# is far away.
_SCRIPT = """
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Set();
  const heavy = (figure) => figure.data.some((trace) => /gl$|parcoords/.test(trace.type || ""));
  function draw(div) {
    const figure = data.figures[div.dataset.figure];
    const layout = Object.assign({}, figure.layout, { template: dark.matches ? data.dark : data.light, autosize: true });
    Plotly.react(div, figure.data, layout, { responsive: true, displaylogo: false });
    drawn.add(div);
  }
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        if (!drawn.has(entry.target)) draw(entry.target);
      } else if (drawn.has(entry.target) && heavy(data.figures[entry.target.dataset.figure])) {
        Plotly.purge(entry.target);
        drawn.delete(entry.target);
      }
    }
  }, { rootMargin: "900px 0px" });
  const plots = document.querySelectorAll(".plot");
  plots.forEach((div) => watch.observe(div));
  dark.addEventListener("change", () => drawn.forEach((div) => { Plotly.purge(div); draw(div); }));
  window.addEventListener("beforeprint", () => plots.forEach((div) => { if (!drawn.has(div)) draw(div); }));
})();
"""

# Copyright 2026 The transformers-videolavit authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The demo's page: one HTML file without scripts, next to its media."""

from html import escape
from pathlib import Path


STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5a6675; --paper: #f6f7f9; --card: #ffffff; --line: #dfe4ea;
  --accent: #3457d5; --note: #fff4d6; --note-ink: #6b4b00; --bar: #b9c3d2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7ebf0; --soft: #9fabba; --paper: #12161c; --card: #1b212a;
  --line: #2e3742; --accent: #8ea6ff; --note: #3a2f12; --note-ink: #ffdf94; --bar: #4b5868; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 34px; line-height: 1.2; margin: 0 0 8px; }
h2 { font-size: 22px; margin: 52px 0 6px; }
h2 span { color: var(--accent); margin-right: 10px; }
p { margin: 6px 0 14px; max-width: 76ch; }
.lead { font-size: 18px; color: var(--soft); }
.note { background: var(--note); color: var(--note-ink); border-radius: 10px; padding: 12px 16px; margin: 18px 0; max-width: none; }
.grid { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); margin: 16px 0; }
.grid.wide { grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden; }
figure video, figure img { display: block; width: 100%; background: #000; }
figure.legend { display: flex; align-items: center; justify-content: center; gap: 20px; padding: 24px; }
figure.legend img { width: 160px; background: none; }
figcaption { padding: 10px 14px 12px; font-size: 14px; color: var(--soft); }
figcaption b { display: block; color: var(--ink); font-size: 15px; }
.facts { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; padding: 0; list-style: none; }
.facts li { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 10px 18px; }
.facts b { display: block; font-size: 22px; }
.facts small { color: var(--soft); font-size: 13px; }
table.bars { width: 100%; border-collapse: separate; border-spacing: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
table.bars td, table.bars th { padding: 9px 14px; text-align: left; font-weight: normal; vertical-align: middle; }
table.bars th { width: 44%; } table.bars small { display: block; color: var(--soft); }
table.bars .value { width: 96px; text-align: right; font-variant-numeric: tabular-nums; font-weight: 600; }
.bar { height: 14px; border-radius: 7px; background: var(--bar); min-width: 3px; }
.bar.ours { background: var(--accent); }
blockquote { margin: 10px 0; padding: 12px 16px; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
blockquote b { display: block; font-size: 13px; color: var(--soft); font-weight: normal; }
blockquote.answer { border-left: 4px solid var(--accent); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px; overflow-x: auto;
  font: 13px/1.6 ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
pre i { font-style: normal; color: var(--accent); }
footer { margin-top: 56px; padding-top: 14px; border-top: 1px solid var(--line); color: var(--soft); font-size: 14px; }
a { color: var(--accent); }
"""


def figure(file: Path, folder: Path, title: str, caption: str = "") -> str:
    """A picture or a video that plays by itself, with its caption. `file` lies somewhere below `folder`, the page's."""
    source = escape(file.relative_to(folder).as_posix())
    if file.suffix == ".mp4":
        media = f'<video src="{source}" autoplay loop muted playsinline controls></video>'
    else:
        media = f'<img src="{source}" alt="{escape(title)}">'
    return f"<figure>{media}<figcaption><b>{escape(title)}</b>{escape(caption)}</figcaption></figure>"


def legend(file: Path, folder: Path, caption: str) -> str:
    """A small picture that explains colours."""
    source = escape(file.relative_to(folder).as_posix())
    return f'<figure class="legend"><img src="{source}" alt="colour wheel"><span>{escape(caption)}</span></figure>'


def grid(figures: list[str], wide: bool = False) -> str:
    """Figures beside each other, as many as there is room for."""
    return f'<div class="grid{" wide" if wide else ""}">{"".join(figures)}</div>'


def facts(values: dict[str, str]) -> str:
    """Numbers with their names: {name: number}."""
    items = "".join(f"<li><b>{escape(value)}</b><small>{escape(name)}</small></li>" for name, value in values.items())
    return f'<ul class="facts">{items}</ul>'


def bars(rows: list[tuple[str, str, float, bool]]) -> str:
    """Numbers to compare, as bars: (name, explanation, number, whether it is ours)."""
    largest = max(value for _, _, value, _ in rows)
    cells = "".join(
        f"<tr><th>{escape(name)}<small>{escape(explanation)}</small></th>"
        f'<td class="value">{value:,.0f}</td>'
        f'<td><div class="bar{" ours" if ours else ""}" style="width: {100 * value / largest:.1f}%"></div></td></tr>'
        for name, explanation, value, ours in rows
    )
    return f'<table class="bars">{cells}</table>'


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; `kind` is "lead", "note" or nothing."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def quote(speaker: str, text: str, is_answer: bool = False) -> str:
    """What somebody said."""
    return f'<blockquote class="{"answer" if is_answer else "question"}"><b>{escape(speaker)}</b>{escape(text)}</blockquote>'


def tokens(start: str, codes: list[int], end: str, shown: int = 48) -> str:
    """A block of tokens between its start and end token; only the first ones are written out."""
    listed = " ".join(str(code) for code in codes[:shown])
    rest = f" … {len(codes) - shown} more" if len(codes) > shown else ""
    return f"<pre><i>{escape(start)}</i> {listed}{rest} <i>{escape(end)}</i></pre>"


def section(number: int, title: str, *content: str) -> str:
    """A numbered part of the page."""
    return f"<section><h2><span>{number}</span>{escape(title)}</h2>{''.join(content)}</section>"


def page(title: str, *content: str) -> str:
    """The whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><main><h1>{escape(title)}</h1>{''.join(content)}</main></body>\n</html>\n"
    )

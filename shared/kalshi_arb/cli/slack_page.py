"""Slack messages as one self-contained page, so that a person can look at them without Slack."""

import html
import re
from collections.abc import Sequence
from typing import Any

_STYLE = """
body{font:15px/1.46 system-ui,-apple-system,"Segoe UI",sans-serif;color:#1d1c1d;background:#fff;margin:0}
main{max-width:46rem;margin:0 auto;padding:1.5rem 1rem}
h1{font-size:1rem;margin:0 0 .25rem}.note{color:#616061;font-size:.8rem;margin:0 0 1rem}
article{display:grid;grid-template-columns:2.5rem 1fr;gap:.6rem;padding:.7rem 0;border-top:1px solid #e8e8e8}
.face{width:2.25rem;height:2.25rem;border-radius:.4rem;background:#0b5c4a;color:#fff;display:grid;place-items:center;
font-weight:700}
.who{font-weight:900}.app{background:#e8e8e8;border-radius:2px;font-size:.65rem;padding:0 .25rem;margin:0 .3rem;
color:#616061;vertical-align:middle}
h2{font-size:1.12rem;line-height:1.35;margin:.2rem 0;overflow-wrap:anywhere}
p{margin:.25rem 0;white-space:pre-wrap;overflow-wrap:anywhere}.context{color:#616061;font-size:.8rem}
hr{border:0;border-top:1px solid #ddd}
"""
_MARKUP = re.compile(r"<(?:!date\^[^<>|]*\|([^<>]*)|([^<>|]*)(?:\|([^<>]*))?)>")
_BOLD = re.compile(r"(?<!\w)\*([^*\n]+)\*(?!\w)")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


def page_of(messages: Sequence[dict[str, Any]], title: str) -> str:
    """A page that shows what Slack would show of these messages."""
    articles = "\n".join(map(_article, messages))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body><main><h1>{html.escape(title)}</h1>"
        '<p class="note">Drawn by kalshi-arb from the messages themselves; Slack draws them in its own way.</p>\n'
        f"{articles}\n</main></body></html>\n"
    )


def _article(message: dict[str, Any]) -> str:
    blocks = "".join(map(_block, message.get("blocks") or [{"type": "section", "text": message}]))
    return (
        '<article><div class="face" aria-hidden="true">K</div><div>'
        f'<div><span class="who">kalshi-arb</span><span class="app">APP</span></div>{blocks}</div></article>'
    )


def _block(block: dict[str, Any]) -> str:
    if block["type"] == "divider":
        return "<hr>"
    if block["type"] == "header":
        return f"<h2>{_text(block['text'])}</h2>"
    if block["type"] == "context":
        return f'<p class="context">{" ".join(map(_text, block["elements"]))}</p>'
    return f"<p>{_text(block['text'])}</p>"


def _text(text: dict[str, Any]) -> str:
    """Slack's text as HTML: dates and links by their words, bold, and the three entities."""
    shown = _MARKUP.sub(lambda match: match[1] or match[3] or match[2] or "", text["text"])
    for entity, character in _ENTITIES:
        shown = shown.replace(entity, character)
    shown = html.escape(shown)
    return _BOLD.sub(r"<b>\1</b>", shown) if text.get("type") == "mrkdwn" else shown

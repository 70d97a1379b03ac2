"""HTML fragments for the `_repr_html_` of results shown in a notebook."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape as _html

from assay.core.printable_text import printable
from assay.core.text_layout import counted, format_percent

_BAR = 160  # width of a full bar, in CSS pixels
_CELL = "padding:2px 12px 2px 0;text-align:left"


def panel(title: str, *parts: str) -> str:
    """Return a heading, escaped, above HTML fragments; empty fragments are omitted."""
    body = "".join(part for part in parts if part)
    return f'<div style="max-width:60em"><strong>{_escape(title)}</strong>{body}</div>'


def paragraph(text: str) -> str:
    """Return plain text as a paragraph."""
    return f'<p style="margin:4px 0">{_escape(text)}</p>' if text else ""


def table(rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Return rows of plain values as a table; None is a dash."""
    head = "".join(f'<th style="{_CELL}">{_escape(name)}</th>' for name in header)
    lines = [f"<tr>{head}</tr>"] if head else []
    for row in rows:
        cells = "".join(f'<td style="{_CELL}">{"–" if cell is None else _escape(str(cell))}</td>' for cell in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def bar_chart(shares: Mapping[str, float], most: int = 10) -> str:
    """Return a bar for each share (0-1), the largest first; of more than `most`, a line counts the others."""
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    lines = [
        f'<tr><td style="{_CELL}">{_escape(name)}</td><td style="{_CELL}">'
        f'<div style="width:{_BAR}px;border:1px solid #8888">'
        f'<div style="width:{round(_BAR * share)}px;height:0.8em;background:#4c78a8"></div></div></td>'
        f'<td style="{_CELL}">{format_percent(share)}</td></tr>'
        for name, share in ranked[:most]
    ]
    rest = (
        paragraph(f"{counted(len(ranked) - most, 'more class is', 'more classes are')} not shown")
        if len(ranked) > most
        else ""
    )
    return f"<table>{''.join(lines)}</table>{rest}"


def image(data: bytes | None, alt: str, width: int, kind: str = "png") -> str:
    """Return an image (png or jpeg) as a data URI, at most `width` CSS pixels wide; empty if `data` is empty."""
    if not data:
        return ""
    source = data_uri(data, f"image/{kind}")
    return f'<img src="{source}" alt="{_escape(alt)}" style="max-width:min(100%,{width}px);display:block">'


def data_uri(data: bytes, media_type: str) -> str:
    """Return a file as a `data:` URI, base64-encoded."""
    return f"data:{media_type};base64,{b64encode(data).decode('ascii')}"


def _escape(text: str) -> str:
    return _html(printable(text))

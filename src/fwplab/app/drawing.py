"""Pictures as HTML, for light and dark pages: matrices, strings, curves with a cursor, eigenvalues."""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

POSITIVE, NEGATIVE = (213, 94, 0), (0, 114, 178)
"""Orange and blue, which colour-blind people can distinguish. Zero is transparent."""
SERIES = ("#0072b2", "#d55e00", "#3f8f5f", "#ae7bfc")
Values = NDArray[np.floating]


def heat_map(values: Values, limit: float, name: str, *, cell: float, tall: float | None = None) -> str:
    """A matrix as coloured cells.

    values: `[rows, columns]`.
    limit: the absolute value from which the colour is full.
    name: its name in the tooltip.
    cell: the width of a cell in pixels.
    tall: the height of a cell in pixels; None for `cell`.
    """
    shares = np.clip(np.nan_to_num(values) / (limit if limit > 0 and np.isfinite(limit) else 1.0), -1, 1)
    pixels = np.zeros((*shares.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where(shares[..., None] >= 0, POSITIVE, NEGATIVE)
    pixels[..., 3] = np.round(255 * np.abs(shares))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    picture = base64.b64encode(file.getvalue()).decode()
    rows, columns = shares.shape
    size = f"width:{columns * cell:.0f}px;height:{rows * (tall or cell):.0f}px"
    text = f"{name}: {float(values.min()):.3g} to {float(values.max()):.3g}" if values.size else name
    return (
        f'<img src="data:image/png;base64,{picture}" alt="{escape(text)}" title="{escape(text)}" '
        f'style="{size};max-width:none;image-rendering:pixelated;outline:1px solid #8888"/>'
    )


def captioned(picture: str, caption: str) -> str:
    """A picture with a caption below it."""
    return f'<div style="margin:0 .6rem .4rem 0">{picture}<div style="font-size:.75rem">{escape(caption)}</div></div>'


def side_by_side(pictures: Sequence[str]) -> str:
    """Pictures in a row, which wraps at the width of the page."""
    return f'<div style="display:flex;flex-wrap:wrap;align-items:flex-end">{"".join(pictures)}</div>'


def string_strip(
    string: str, expected: Sequence[str], predicted: Sequence[str], position: int, error: int | None, shown: range
) -> str:
    """A string above the labels of the language and those of the model.

    position: the current position, which is framed.
    error: the position of the first wrong label, which is marked; None if there is none.
    shown: the positions to show.
    """
    columns = []
    for place in shown:
        symbol, label, prediction = string[place], expected[place], predicted[place]
        colour, weight = ("#d33", "700") if label != prediction else ("inherit", "400")
        frame = "outline:2px solid #0072b2;" if place == position else ""
        first = "background:#d333;" if place == error else ""
        columns.append(
            f'<span style="display:inline-block;text-align:center;width:1.1rem;{frame}{first}" '
            f'title="position {place + 1}">{escape(symbol)}<br><span style="opacity:.6">{escape(label)}</span><br>'
            f'<span style="color:{colour};font-weight:{weight}">{escape(prediction)}</span></span>'
        )
    return (
        '<div style="font-family:monospace;line-height:1.25;overflow-wrap:anywhere" role="img" '
        f'aria-label="the string, its labels, the labels of the model">{"".join(columns)}</div>'
    )


def narrowed(values: Values, most: int) -> Values:
    """A matrix `[rows, columns]` with at most `most` columns; neighbouring columns are added up."""
    width = -(-values.shape[1] // most)
    starts = np.arange(0, values.shape[1], width)
    narrow: Values = np.add.reduceat(values, starts, axis=1)
    return narrow


def curves(series: dict[str, Sequence[float]], cursor: int, title: str) -> str:
    """Curves over the positions of a string, by name.

    cursor: the current position, which a bar marks; the legend shows the values there.
    title: the title below the curves.
    """
    width, height, left = 420, 90, 46
    values = np.array([value for line in series.values() for value in line if np.isfinite(value)])
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    span, count = (high - low) or 1.0, max(len(line) for line in series.values())

    def across(place: float) -> float:
        return left + (width - left - 4) * (place / max(count - 1, 1))

    lines, legend = [], []
    for (name, line), colour in zip(series.items(), SERIES * len(series), strict=False):
        points = " ".join(
            f"{across(place):.1f},{6 + (height - 12) * (1 - (line[place] - low) / span):.1f}"
            for place in range(len(line))
            if np.isfinite(line[place])
        )
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        legend.append(f'<span style="color:{colour}">{escape(name)} {line[min(cursor, len(line) - 1)]:.3g}</span>')
    here = f"{across(cursor):.1f}"
    bar = f'<line x1="{here}" x2="{here}" y1="0" y2="{height}" stroke="#888" opacity=".5"/>'
    ends = "".join(
        f'<text x="{left - 4}" y="{y}" text-anchor="end" font-size="10" fill="#888">{value:.3g}</text>'
        for y, value in ((12, high), (height - 4, low))
    )
    caption = f"{escape(title)}: {', '.join(legend)}"
    drawing = _svg(ends + bar + "".join(lines), width, height, title)
    return f'<div style="margin:0 1rem .6rem 0">{drawing}{_small(caption)}</div>'


def complex_plane(eigenvalues: NDArray[np.complexfloating], title: str) -> str:
    """Eigenvalues in the complex plane, with the unit circle; those with a negative real part are orange."""
    size = 220
    reach = max(1.15, float(np.abs(eigenvalues).max()) * 1.1) if eigenvalues.size else 1.15

    def at(value: float) -> float:
        return size / 2 * (1 + value / reach)

    dots = "".join(
        f'<circle cx="{at(value.real):.1f}" cy="{at(-value.imag):.1f}" r="3" fill="{SERIES[int(value.real < -1e-6)]}" '
        f'fill-opacity=".6"><title>{value:.4g}</title></circle>'
        for value in eigenvalues
    )
    axes = "".join(
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#888" opacity=".3"/>'
        for x1, y1, x2, y2 in ((0, size / 2, size, size / 2), (size / 2, 0, size / 2, size))
    )
    circle = f'<circle cx="{at(0)}" cy="{at(0)}" r="{at(1) - at(0):.1f}" fill="none" stroke="#888" opacity=".5"/>'
    return f"<div>{_svg(axes + circle + dots, size, size, title)}{_small(escape(title))}</div>"


def _small(markup: str) -> str:
    return f'<div style="font-size:.8rem">{markup}</div>'


def _svg(content: str, width: int, height: int, name: str) -> str:
    """A drawing as an image, because Streamlit removes SVG elements from HTML."""
    size = f'width="{width}" height="{height}"'
    drawing = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">{content}</svg>'
    data = base64.b64encode(drawing.encode()).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(name)}" {size}/>'

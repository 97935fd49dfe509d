"""Writes figures to files, or as an SVG element for a page."""

import re
from hashlib import blake2b
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from fwplab.errors import UserError
from fwplab.files import replaced
from fwplab.plots.style import FONT, INK, STYLE

FORMATS = (".svg", ".pdf", ".png")
SVG = "{http://www.w3.org/2000/svg}"


def to_svg(figure: Figure) -> str:
    """Renders a figure as an `<svg>` element for an HTML page.

    Text stays text, and the colour `INK` becomes the text colour of the page. Ids begin with a digest of the drawing,
    so that a page can have several figures. The same figure always gives the same element.
    """
    drawn = _rendered(figure)
    prefix = "f" + blake2b(drawn.encode(), digest_size=5).hexdigest()
    root = ElementTree.fromstring(drawn)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
        element.attrib = {name: _inline(name, value, prefix) for name, value in attributes.items()}
        element.tail = None
        if element.tag != "text":
            element.text = None
    width, height = (4 / 3 * float(root.attrib[side].removesuffix("pt")) for side in ("width", "height"))
    root.attrib |= {"xmlns": SVG[1:-1], "width": f"{width:.0f}", "height": f"{height:.0f}"}
    root.attrib |= {"role": "img", "aria-label": str(figure.get_label()), "stroke-linejoin": "round"}
    return ElementTree.tostring(root, encoding="unicode")


def check_format(path: Path) -> None:
    """Raises `UserError` for a path whose suffix is not in `FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"no figure can be written as {path.name!r}; choose a suffix from: {', '.join(FORMATS)}")


def save(figure: Figure, path: Path) -> None:
    """Writes a figure in the format of the suffix: .svg, .pdf or .png. The file appears only once it is complete."""
    check_format(path)
    suffix = path.suffix.lower()
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}[suffix]
    with replaced(path) as temporary, matplotlib.rc_context(STYLE):
        figure.savefig(temporary, format=suffix[1:], dpi=200, metadata=undated)


def _rendered(figure: Figure) -> str:
    drawn = StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return drawn.getvalue()


def _inline(name: str, value: str, prefix: str) -> str:
    """An attribute's value for a page with other drawings: with the prefix in ids, and numbers rounded."""
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href" or "url(#" in value:
        value = value.replace("#", f"#{prefix}-", 1)
    if name in ("d", "x", "y", "transform"):
        return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
    return value.replace(INK, "currentColor").replace(f"'{FONT}'", "system-ui")

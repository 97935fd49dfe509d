"""Figures of records, one in each file. A mixer has the same colour and marker in all figures.

A figure that only one study has is in the file of that study.
"""

from fwplab.plots.curves import learning_curves
from fwplab.plots.lengths import accuracy_by_length
from fwplab.plots.output import FORMATS, check_format, save, to_svg
from fwplab.plots.solved import solve_rate_heatmap
from fwplab.plots.steps import steps_to_solve
from fwplab.plots.style import LINE_STYLES, LineStyle, line_style, marker_points

__all__ = [
    "FORMATS",
    "LINE_STYLES",
    "LineStyle",
    "accuracy_by_length",
    "check_format",
    "learning_curves",
    "line_style",
    "marker_points",
    "save",
    "solve_rate_heatmap",
    "steps_to_solve",
    "to_svg",
]

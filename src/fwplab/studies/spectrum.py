"""Which eigenvalues does the Jacobian of one step have, and are some of them negative?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fwplab.languages import load_language
from fwplab.probes import Values, step_eigenvalues
from fwplab.probes.eigenvalues import EDGES
from fwplab.studies._mechanism import Mechanism, MechanismRow, share
from fwplab.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Spectrum(Mechanism):
    """Eigenvalues of the Jacobian of a whole step, by symbol."""

    title = "Eigenvalues of the state transition of one step"
    question = "For which symbols does the Jacobian d state_t / d state_(t-1) have negative eigenvalues?"
    x = "real part of an eigenvalue of d state_t / d state_(t-1)"
    head = ("symbol", "negative %", "lowest", "largest")
    caption = (
        "Eigenvalues of d state_t / d state_(t-1) for each head (for each layer of LSTM and e-LSTM), by symbol; "
        "medians over seeds. Negative: the share of Jacobians that have an eigenvalue with a real part below -0.05. "
        "Lowest: the lowest real part of all. Largest: the largest modulus of a Jacobian, median over Jacobians."
    )

    def probe(self, checkpoint: Checkpoint) -> Values:
        """The eigenvalues of the model's steps."""
        return step_eigenvalues(checkpoint.model(), load_language(checkpoint.run.language))

    def texts(self, cell: MechanismRow) -> list[str]:
        """The values of a row, with a line for each symbol."""
        symbols = cell.names("negative")
        columns = [symbols, [share(cell.median(0, f"{symbol}/negative")) for symbol in symbols]]
        columns += [[f"{cell.values[0, f'{s}/{what}'].median:.2f}" for s in symbols] for what in ("lowest", "largest")]
        return ["\n".join(column) for column in columns]

    def draw_panel(self, axes: "Axes", cells: Sequence[MechanismRow]) -> None:
        """Draws a strip for each mixer and symbol: the darker, the more eigenvalues have this real part (log scale)."""
        from fwplab.plots.style import INK, line_style

        rows = [(cell, symbol) for cell in cells for symbol in cell.names("negative")]
        for row, (cell, symbol) in enumerate(rows):
            for place in range(len(EDGES) - 1):
                value = cell.median(place, f"{symbol}/share")
                if value:
                    depth = 1 + np.log10(max(value, 1e-4)) / 4  # 0.01 % is white, 100 % the full colour
                    left, width = EDGES[place], EDGES[place + 1] - EDGES[place]
                    colour = line_style(cell.mixer).colour
                    axes.barh(row, width, 0.86, left, color=colour, alpha=0.12 + 0.88 * depth, linewidth=0)
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_yticks(range(len(rows)), [f"{cell.mixer} {symbol}" for cell, symbol in rows], fontsize=6)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(EDGES[0], EDGES[-1])

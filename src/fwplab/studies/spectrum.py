"""By what does one symbol multiply the state: does an eigenvalue of the step go negative?"""

from fwplab.checkpoint import Checkpoint
from fwplab.languages import language
from fwplab.probes import Values, step_eigenvalues
from fwplab.studies.mechanism import Cell, Mechanism, share


class Spectrum(Mechanism):
    """Eigenvalues of the Jacobian of a whole step, by symbol."""

    title = "Eigenvalues of the per-step transition"
    question = (
        "What are the eigenvalues of d state_t / d state_(t-1), feedback and self-reference included, and on which "
        "symbols do they go below zero?"
    )
    figures = ("spectrum",)
    head = ("symbol", "negative %", "lowest", "largest")
    caption = (
        "By symbol, medians over seeds. Negative: steps and heads (layers, of LSTM and e-LSTM) with an eigenvalue "
        "whose real part is below -0.05. Lowest: the lowest real part. Largest: the median modulus of the largest."
    )

    def probe(self, checkpoint: Checkpoint) -> Values:
        """The checkpoint's model alone."""
        return step_eigenvalues(checkpoint.model(), language(checkpoint.run.language))

    def texts(self, cell: Cell) -> list[str]:
        """A line a symbol."""
        symbols = cell.names("negative")
        columns = [symbols, [share(cell.median(0, f"{symbol}/negative")) for symbol in symbols]]
        columns += [[f"{cell.values[0, f'{s}/{what}'].median:.2f}" for s in symbols] for what in ("lowest", "largest")]
        return ["\n".join(column) for column in columns]

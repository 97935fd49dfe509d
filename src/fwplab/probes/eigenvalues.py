"""Eigenvalues of the transition of one step, `d state_t / d state_{t-1}`."""

import numpy as np

from fwplab.languages import Language
from fwplab.model import Model
from fwplab.probes.words import Values, draw
from fwplab.reading import read, spectrum

EDGES = tuple(round(-1.35 + 0.1 * number, 2) for number in range(28))
"""Edges of the histogram of real parts. Bins are centred on multiples of 0.1; the outermost include the rest."""
WORDS, POSITIONS = 6, 6
"""The number of words, and of random positions in each."""
LARGEST = 1_000
"""The largest state of a head, in numbers, whose Jacobian is computed."""
NEGATIVE = -0.05
"""An eigenvalue with a real part below this counts as negative. It is too far from 0 to be a rounding error."""


def step_eigenvalues(model: Model, language: Language) -> Values:
    """The eigenvalues of `d state_t / d state_{t-1}` of every layer and head, at random positions of random words.

    Returns these values for each symbol:

    - `(bin, "SYMBOL/share")`: the share of eigenvalues whose real part is in bin number `bin` of `EDGES`.
    - `(0, "SYMBOL/negative")`: the share of steps and heads with an eigenvalue below `NEGATIVE`.
    - `(0, "SYMBOL/lowest")`: the lowest real part.
    - `(0, "SYMBOL/largest")`: the median over steps and heads of the largest modulus.

    Raises `UserError` for a state that grows with the word, or that has more than `LARGEST` numbers in a head.
    """
    words = draw(language, 31, 50, WORDS, 5)
    generator = np.random.default_rng(0)
    by_symbol: dict[str, list[np.ndarray]] = {}
    for word in words.data.strings:
        layers = read(model, language, word).layers()
        for position in generator.choice(len(word), POSITIONS, replace=False).tolist():
            for layer in layers:
                heads = layer.states[0].shape[1] if layer.view is not None and layer.states else 1
                for head in range(heads):
                    found = spectrum(layer, position, head, largest=LARGEST).numpy()
                    by_symbol.setdefault(word[position], []).append(found)
    values: Values = {}
    for symbol, spectra in sorted(by_symbol.items()):
        real = np.clip(np.concatenate(spectra).real, EDGES[0], EDGES[-1])
        counts, _ = np.histogram(real, EDGES)
        values |= {(bin, f"{symbol}/share"): count / len(real) for bin, count in enumerate(counts.tolist()) if count}
        lowest = [float(each.real.min()) for each in spectra]
        values[0, f"{symbol}/negative"] = float(np.mean(np.array(lowest) < NEGATIVE))
        values[0, f"{symbol}/lowest"] = min(lowest)
        values[0, f"{symbol}/largest"] = float(np.median([np.abs(each).max() for each in spectra]))
    return values

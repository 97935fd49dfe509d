"""By what mechanism? Questions put to one trained model: what its states hold, what they cause, how they move.

Each file is a probe: `linear` (what can be read off a layer), `patching` (what a state causes), `eigenvalues` (how a
step moves the state), `freezing` (what the updates are good for). A probe takes a model and its language and returns
`Values`; the studies `probing`, `patching`, `spectrum` and `freezing` ask it of every checkpoint.
"""

from fwplab.probes.eigenvalues import step_eigenvalues
from fwplab.probes.freezing import frozen
from fwplab.probes.linear import linear_probes
from fwplab.probes.patching import patched
from fwplab.probes.words import Values

__all__ = ["Values", "frozen", "linear_probes", "patched", "step_eigenvalues"]

"""Probes of a trained model: what its states contain and cause, how they change, and what updates are needed for.

Each file is a probe: `linear` (what can be read off a layer), `patching` (what a state causes), `eigenvalues` (how a
step changes the state) and `freezing` (what the updates are needed for). A probe takes a model and its language and
returns `Values`. The studies `probing`, `patching`, `spectrum` and `freezing` apply the probes to every checkpoint.
"""

from fwplab.probes.eigenvalues import step_eigenvalues
from fwplab.probes.freezing import frozen
from fwplab.probes.linear import linear_probes
from fwplab.probes.patching import patched
from fwplab.probes.words import Values

__all__ = ["Values", "frozen", "linear_probes", "patched", "step_eigenvalues"]

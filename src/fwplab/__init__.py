"""fwplab measures which formal languages sequence models recognise.

The names below are imported when they are first used: `import fwplab` alone does not import PyTorch.

>>> import fwplab
>>> fwplab.language("parity").labels("0110")
['1', '0', '1', '1']
>>> fwplab.mixer("srwm", rate_bias=-2.0).rate_bias
-2.0
"""

from typing import TYPE_CHECKING

from fwplab.lazy import lazy_names
from fwplab.version import __version__

if TYPE_CHECKING:
    from fwplab.languages import LANGUAGES
    from fwplab.languages import load_language as language
    from fwplab.mixers import MIXERS
    from fwplab.model.spec import ModelSpec
    from fwplab.studies import load_study as study
    from fwplab.training.checkpoint import load_checkpoint
    from fwplab.training.protocol import Protocol
    from fwplab.training.run import Run, mixer
    from fwplab.training.trainer import train
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "LANGUAGES": "fwplab.languages",
            "MIXERS": "fwplab.mixers",
            "ModelSpec": "fwplab.model.spec",
            "Protocol": "fwplab.training.protocol",
            "Run": "fwplab.training.run",
            "language": "fwplab.languages:load_language",
            "load_checkpoint": "fwplab.training.checkpoint",
            "mixer": "fwplab.training.run",
            "study": "fwplab.studies:load_study",
            "train": "fwplab.training.trainer",
        },
    )

__all__ = [
    "LANGUAGES",
    "MIXERS",
    "ModelSpec",
    "Protocol",
    "Run",
    "__version__",
    "language",
    "load_checkpoint",
    "mixer",
    "study",
    "train",
]

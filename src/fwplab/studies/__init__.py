"""The studies, one file a question; the folder is the register."""

from fwplab.studies.study import STUDIES, Study

__all__ = ["STUDIES", "Study"]

"""Errors that the command line prints as one line instead of a traceback."""


class UserError(ValueError):
    """Wrong input, the user's to mend: the text is a single line that names the choices; exit code 2."""


class WorkError(RuntimeError):
    """Right input, but the work cannot be finished; exit code 1."""

    resumable = False
    """Whether the same command, started again, goes on where this one stopped."""

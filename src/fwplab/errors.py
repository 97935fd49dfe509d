"""Errors that the command line prints as one line instead of a traceback."""


class UserError(ValueError):
    """Input that the user can correct; exit code 2.

    The text is one line that names the choices. The command line prints it.
    """


class WorkError(RuntimeError):
    """Right input, but the work cannot be finished; exit code 1."""

    resumable = False
    """Whether the same command, started again, goes on where this one stopped."""

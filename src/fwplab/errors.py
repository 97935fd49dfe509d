"""The error for wrong input."""


class UserError(ValueError):
    """Input that the user can correct.

    The text is one line that names the choices. The command line prints it and exits with code 2.
    """

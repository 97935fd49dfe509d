"""The one error that is the user's to mend: its text is a single line that names the choices."""


class UserError(ValueError):
    """Wrong input; the command line prints the text as one line and exits with code 2."""

"""`fwplab explore`: the local web app."""

import importlib.util
import socket
import webbrowser
from dataclasses import dataclass

from fwplab.errors import UserError


@dataclass(frozen=True)
class Explore:
    """Starts a local web app that shows records and checkpoints: tables, curves, and how a model reads a string.

    By default only this machine can reach it. It sends no data to other machines.
    """

    host: str = "127.0.0.1"
    """The address to listen on. Everyone who can reach it can read the records and start small trainings."""
    port: int = 8501
    """The port to listen on."""
    browser: bool = False
    """Open a browser window."""

    def __call__(self) -> int:
        if importlib.util.find_spec("streamlit") is None:
            raise UserError("the explorer needs Streamlit: pip install 'fwplab[explore]'")
        self._check_port()
        from fwplab.app.server import serve, set_streamlit

        set_streamlit()
        import fwplab.app.main  # noqa: F401  # now, so that the first visitor does not wait for the import
        from fwplab.app.shared import table_rows

        table_rows(False, "paper")
        serve(self.host, self.port, self._say_where)
        return 0

    def _say_where(self) -> None:
        address = f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"
        print(f"fwplab explore: {address} (stop with Ctrl-C)", flush=True)
        if self.browser:
            webbrowser.open(address)

    def _check_port(self) -> None:
        if not 1 <= self.port <= 65535:
            raise UserError(f"a port is a number from 1 to 65535, not {self.port}")
        if not self.host:
            raise UserError("--host must not be empty; give an address of this machine, such as 127.0.0.1")
        try:
            family, *_, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except (OSError, UnicodeError) as error:  # a part of a name has at most 63 characters
            why = error.strerror if isinstance(error, OSError) else "no name of a host"
            raise UserError(f"cannot listen on {self.host}:{self.port} ({why}); choose another") from error

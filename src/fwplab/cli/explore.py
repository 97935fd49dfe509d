"""`fwplab explore`: the local web app."""

import importlib.util
import socket
from dataclasses import dataclass
from importlib.resources import as_file, files

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
        options = {
            "server.address": self.host,
            "server.port": self.port,
            "server.headless": not self.browser,
            "server.fileWatcherType": "none",
            "server.enableCORS": True,
            "server.enableXsrfProtection": True,
            "browser.gatherUsageStats": False,
            "client.toolbarMode": "minimal",
            "client.showErrorDetails": "none",
        }
        from streamlit.web.cli import main

        import fwplab.app.main  # noqa: F401  # now, so that the first visitor does not wait for the import
        from fwplab.app.shared import study_records

        study_records("irie2023", False)
        print(f"fwplab explore: http://{self.host}:{self.port} (stop with Ctrl-C)", flush=True)
        with as_file(files("fwplab") / "app" / "main.py") as script:
            flags = [f"--{name}={str(value).lower()}" for name, value in options.items()]
            main(["run", str(script), *flags], standalone_mode=False)
        return 0

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

"""What the harness changes inside of a command: Python imports this file when it starts, and in workers too.

`FWPLAB_FAULT` is a JSON object. Every change of a file under its `home` is counted: files opened to be written,
renames, removals, new folders, databases.

- `saves`: the training state is saved at every check.
- `log`: a file to which every change is written.
- `at`, `signal`, `group`, `once`: at this change, the first process that comes to it sends itself, or its group, this
  signal. `once` is the file by which it is known.
- `at`, `errno`: from this change on, all fail with this error, as on a full disk or on one that can only be read.
"""

import importlib.util
import json
import os
import sys


class SavesOften:
    """Finds the trainer as Python does, and lets it save at every check."""

    def find_spec(self, name, path, target=None):
        if name != "fwplab.training.trainer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            module.SAVE_EVERY_SECONDS = 0.0

        spec.loader.exec_module = exec_module
        return spec


def changed(event, arguments):
    """The path that an event changes, or None."""
    if event == "open":
        path, _, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        return path if writes and not isinstance(path, int) else None
    if event == "os.rename":
        return arguments[1]
    return arguments[0] if event in ("os.remove", "os.mkdir", "sqlite3.connect") else None


def strike(fault, count, path):
    """The fault that belongs to this change, if any."""
    if "errno" in fault and count >= fault["at"]:
        raise OSError(fault["errno"], os.strerror(fault["errno"]), path)
    if "signal" in fault and count == fault["at"]:
        try:
            os.close(os.open(fault["once"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        if fault["group"]:
            os.killpg(0, fault["signal"])
        else:
            os.kill(os.getpid(), fault["signal"])


def watch(fault):
    """Counts the changes of this process."""
    count, home = 0, fault["home"]

    def hook(event, arguments):
        nonlocal count
        path = changed(event, arguments)
        path = None if path is None else os.fsdecode(path)
        if path is None or not path.removeprefix("file:").startswith(home):
            return
        count += 1
        if "log" in fault:
            handle = os.open(fault["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            os.write(handle, f"{os.getpid()} {event} {path}\n".encode())
            os.close(handle)
        strike(fault, count, path)

    sys.addaudithook(hook)


if os.environ.get("FWPLAB_FAULT"):
    settings = json.loads(os.environ["FWPLAB_FAULT"])
    if settings.get("saves"):
        sys.meta_path.insert(0, SavesOften())
    watch(settings)

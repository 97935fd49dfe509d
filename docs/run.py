"""Runs the commands of a page, and replaces the output below them: `python docs/run.py docs/first-experiments.md`.

Every line `$ command` in a fenced `console` block is run in the shell. The lines after it, up to the next command or
the end of the block, are replaced by its standard output.
"""

import os
import subprocess
import sys
from pathlib import Path


def rerun(page: str) -> str:
    """The page with new output."""
    lines: list[str] = []
    inside = False
    for line in page.splitlines():
        if line.startswith("```"):
            inside = line == "```console"
            lines.append(line)
        elif inside and line.startswith("$ "):
            print(line, file=sys.stderr, flush=True)
            done = subprocess.run(line[2:], shell=True, check=True, stdout=subprocess.PIPE, text=True)
            shown = done.stdout.replace(os.environ.get("FWPLAB_HOME", "\0"), "$FWPLAB_HOME")
            lines += [line, *(text.rstrip() for text in shown.rstrip().splitlines())]
        elif not inside:
            lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(rerun(path.read_text()))

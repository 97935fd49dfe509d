"""Puts the table of a long run into a page: `python -m tests.faults.page LOG PAGE`.

LOG is what the long form has printed. The table and the line below it replace what stands between the page's marks.
"""

import re
import sys
from pathlib import Path

BEGIN, END = "<!-- faults -->\n", "<!-- /faults -->"


def with_table(page: str, log: str) -> str:
    """The page with the table of this log."""
    table = log[log.rindex("| kind |") :].strip()
    if not re.search(r"\n\d+ trials in \d+ minutes, seed \d+$", table):
        raise ValueError("the log does not end as a finished run does")
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    log, page = map(Path, sys.argv[1:])
    page.write_text(with_table(page.read_text("utf-8"), log.read_text("utf-8")), "utf-8")

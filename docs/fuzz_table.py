"""Writes the table of a long fuzzing run into docs/trust.md: `python docs/fuzz_table.py FILE`, which `--json` wrote."""

import json
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parent / "trust.md"
COLUMNS = ("cases", "returned", "refused", "failed")
BETWEEN = re.compile(r"(?<=<!-- fuzzing -->\n).*?(?=<!-- end of fuzzing -->)", re.DOTALL)


def table(tallies: list[dict[str, object]]) -> str:
    """The table as Markdown, with a row for each door and one for all of them."""
    whole: dict[str, object] = {"door": "all doors", "slowest": max(float(str(each["slowest"])) for each in tallies)}
    whole |= {column: sum(int(str(each[column])) for each in tallies) for column in COLUMNS}
    rows = ["| door | cases | returned | refused | failed | slowest |", "| --- | --: | --: | --: | --: | --: |"]
    for each in (*tallies, whole):
        counts = (f"{each[column]:,}" for column in COLUMNS)
        rows.append(f"| {each['door']} | {' | '.join(counts)} | {each['slowest']:.2f} s |")
    return "\n" + "\n".join(rows) + "\n\n"


if __name__ == "__main__":
    found = table(json.loads(Path(sys.argv[1]).read_text()))
    PAGE.write_text(BETWEEN.sub(lambda _: found, PAGE.read_text()))

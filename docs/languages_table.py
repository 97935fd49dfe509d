"""The table of the catalogue in docs/languages.md, from the languages themselves."""

from collections.abc import Iterable

from fwplab.languages import LANGUAGES, Language, Regular, load_language
from fwplab.source import first_paragraph


def span(numbers: Iterable[int]) -> str:
    """The numbers as one, or as the lowest and the highest."""
    found = sorted(set(numbers))
    return str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"


def table() -> str:
    """One row for each file of the catalogue, ordered by the class in the hierarchy."""
    files: dict[str, list[Language]] = {}
    for name in LANGUAGES.own_names():
        files.setdefault(LANGUAGES.load(name).__module__, []).append(load_language(name))
    rows = []
    for members in files.values():
        members.sort(key=lambda each: (len(each.name), each.name))
        names = [f"`{each.name}`" for each in members]
        shown = f"{names[0]} ... {names[-1]}" if len(names) > 3 else ", ".join(names)
        rule = first_paragraph(type(members[0]).__doc__ or type(members[0]).__mro__[1].__doc__).replace("|", "\\|")
        states = span(len(each.moves) for each in members if isinstance(each, Regular)) if _regular(members) else "-"
        sizes = (span(len(each.symbols) for each in members), span(len(each.classes) for each in members), states)
        rows.append((members[0].hierarchy, f"| {' | '.join((shown, rule, *sizes, members[0].hierarchy))} |"))
    order = ("regular (star", "regular", "context-free", "context-sensitive", "transduction")
    rows.sort(key=lambda row: next(place for place, kind in enumerate(order) if row[0].startswith(kind)))
    head = "| name | rule | symbols | label classes | states | class |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(row for _, row in rows)])


def _regular(members: list[Language]) -> bool:
    return all(isinstance(each, Regular) for each in members)


if __name__ == "__main__":
    print(table())

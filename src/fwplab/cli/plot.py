"""`fwplab plot`: the figures of a study as files, for a paper or a talk."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fwplab.cli.console import emit
from fwplab.cli.study import Selected
from fwplab.errors import UserError
from fwplab.plots import check_format, save
from fwplab.run import Rule

FOLDER_SUFFIXES = (".png", ".svg")
"""What a figure is written as where a folder is named instead of a file."""


@dataclass(frozen=True)
class Plot(Selected):
    """Draws figures of a study from the records that are there: one into a file, or all of them into a folder."""

    name: Positional[str] = "irie2023"
    """A study: fwplab study list."""
    figure: str | None = None
    """One of the study's figures, such as steps; all of them where none is named and --out is a folder."""
    out: str = "figures/"
    """A file that ends in .svg, .pdf or .png; or a folder, which gets each figure as PNG and SVG."""
    rule: Rule = "paper"
    """Which checkpoint speaks for a run where the figure reads one: paper, strict, last or oracle."""
    json: bool = False

    def __call__(self) -> int:
        paths = self._paths()
        figures, records = self.study().figures(), self.records()
        drawn = {name: figures[name](records, self.rule) for name in paths}
        for name, figure in drawn.items():
            for path in paths[name]:
                save(figure, path)
        facts = [{"figure": name, "path": str(path)} for name, those in paths.items() for path in those]
        emit(facts, as_json=self.json, text="\n".join(fact["path"] for fact in facts))
        return 0

    def _paths(self) -> dict[str, list[Path]]:
        """The files that each figure goes to; a `UserError` for what cannot be drawn or written."""
        names = self._figures()
        out = Path(self.out)
        if self.out.endswith("/") or out.is_dir():
            study = self.study().name
            return {name: [out / f"{study}-{name}{suffix}" for suffix in FOLDER_SUFFIXES] for name in names}
        check_format(out)
        if len(names) > 1:
            raise UserError(f"a file holds one figure: --figure is missing; choose from: {', '.join(names)}")
        return {names[0]: [out]}

    def _figures(self) -> tuple[str, ...]:
        able = tuple(self.study().figures())
        if not able:
            raise UserError(f"{self.name} has no figures; its table: fwplab study show {self.name}")
        if self.figure is None:
            return able
        if self.figure not in able:
            raise UserError(f"{self.name} has no figure {self.figure!r}; choose from: {', '.join(able)}")
        return (self.figure,)

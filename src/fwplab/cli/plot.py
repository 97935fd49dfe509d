"""`fwplab plot`: draws the figures of a study to files, for a paper or a talk."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fwplab.cli.console import emit
from fwplab.cli.study import Selected
from fwplab.errors import UserError
from fwplab.training.protocol import Rule

FOLDER_SUFFIXES = (".png", ".svg")
"""The formats of each figure if `--out` is a folder."""


@dataclass(frozen=True)
class Plot(Selected):
    """Draws figures of a study from finished records: one figure to a file, or all figures to a folder."""

    name: Positional[str] = "irie2023"
    """Name of a study: fwplab study list."""
    figure: str | None = None
    """One figure of the study, such as steps. By default all figures, if --out is a folder."""
    out: str = "figures/"
    """A file that ends in .svg, .pdf or .png; or a folder, which gets each figure as PNG and SVG."""
    rule: Rule = "paper"
    """The selection rule of the checkpoints, for figures of checkpoints: paper, strict, last or oracle."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        from fwplab.plots import save

        paths = self._paths()
        figures, records = self.study().figures(), self.records()
        drawn = {name: figures[name](records, self.rule) for name in paths}
        for name, figure in drawn.items():
            for path in paths[name]:
                save(figure, path)
        facts = [{"figure": name, "path": str(path)} for name, written in paths.items() for path in written]
        emit(facts, as_json=self.json, text="\n".join(fact["path"] for fact in facts))
        return 0

    def _paths(self) -> dict[str, list[Path]]:
        """The files of each figure. Raises `UserError` for a figure that cannot be drawn or a file that cannot be
        written."""
        from fwplab.plots import check_format

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
        available = tuple(self.study().figures())
        if not available:
            raise UserError(f"{self.name} has no figures; its table: fwplab study show {self.name}")
        if self.figure is None:
            return available
        if self.figure not in available:
            raise UserError(f"{self.name} has no figure {self.figure!r}; choose from: {', '.join(available)}")
        return (self.figure,)

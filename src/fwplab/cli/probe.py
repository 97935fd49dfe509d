"""`fwplab probe`: by what mechanism one trained model does what it does."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from tyro.conf import Positional

from fwplab.checkpoint import Checkpoint
from fwplab.cli.checkpoints import find_checkpoint
from fwplab.cli.console import emit
from fwplab.errors import UserError
from fwplab.plots import check_format, save
from fwplab.run import Rule
from fwplab.studies import STUDIES
from fwplab.studies.mechanism import Mechanism, MechanismRow, cell_of_checkpoint


@dataclass(frozen=True)
class Probe:
    """Asks one checkpoint what it holds, what its states cause, how a step moves them, what updates are good for."""

    model: Positional[str]
    """A checkpoint's file; a run's key; or LANGUAGE/MIXER for the checkpoint that comes with the package."""
    probe: Positional[str] = "all"
    """freezing, patching, probing, spectrum, or all."""
    rule: Rule = "paper"
    """Of a run: whose checkpoint."""
    out: Path | None = None
    """A figure of one probe: .svg, .pdf or .png."""
    json: bool = False

    def __call__(self) -> int:
        probes = tuple(name for name in STUDIES.names() if issubclass(STUDIES.load(name), Mechanism))
        if self.probe not in (*probes, "all"):
            raise UserError(f"there is no probe {self.probe!r}; choose from: {', '.join(probes)}, all")
        if self.out is not None:
            check_format(self.out)
            if self.probe == "all":
                raise UserError(f"a file holds one figure: name one of the probes: {', '.join(probes)}")
        checkpoint = find_checkpoint(self.model, self.rule)
        if (task := checkpoint.run.protocol.splits.task) != "transduction":
            raise UserError(
                f"run {checkpoint.run.key} is of the task {task}, and the probes read the labels of words; "
                "choose a run of the task transduction, or fwplab extract"
            )
        found, refused = _asked(checkpoint, probes if self.probe == "all" else (self.probe,))
        if self.out is not None:
            study, cell = found[self.probe]
            save(study.draw([cell]), self.out)
        facts = {name: study.facts([cell])[0] for name, (study, cell) in found.items()}
        run = checkpoint.run
        about = {"run": run.key, "seed": checkpoint.seed, "selection": checkpoint.rule, "step": checkpoint.step}
        which = f"seed {checkpoint.seed}, {checkpoint.rule} rule, step {checkpoint.step:,}"
        said = f"{run.mixer_name} on {run.language}, {which}"
        tables = [part for study, cell in found.values() for part in (f"\n{study.question}", study.render([cell]))]
        emit(
            about | {"probes": facts, "refused": refused},
            as_json=self.json,
            text=Group(said, *tables, *refused.values()),
        )
        return 0


def _asked(
    checkpoint: Checkpoint, names: tuple[str, ...]
) -> tuple[dict[str, tuple[Mechanism, MechanismRow]], dict[str, str]]:
    """By probe, what it found, and why it could not look; of a single one that is a `UserError`."""
    found, refused = {}, {}
    for name in names:
        study = STUDIES.load(name)()
        assert isinstance(study, Mechanism)
        try:
            found[name] = study, cell_of_checkpoint(checkpoint, study.probe(checkpoint))
        except UserError as error:
            if len(names) == 1:
                raise
            refused[name] = f"\n{name}: {error}"
    return found, refused

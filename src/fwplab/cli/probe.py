"""`fwplab probe`: probes the mechanism of one trained model."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from tyro.conf import Positional

from fwplab.cli.checkpoints import find_checkpoint
from fwplab.cli.console import emit
from fwplab.errors import UserError
from fwplab.studies import STUDIES
from fwplab.training.protocol import Rule

if TYPE_CHECKING:
    from fwplab.studies._mechanism import Mechanism, MechanismRow
    from fwplab.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Probe:
    """Probes a checkpoint: what its states encode and cause, how a step changes them, and which updates it needs."""

    model: Positional[str]
    """A checkpoint file; the key of a run; or LANGUAGE/MIXER for the checkpoint that comes with the package."""
    probe: Positional[str] = "all"
    """freezing, patching, probing, spectrum, or all."""
    rule: Rule = "paper"
    """For the key of a run: the selection rule whose checkpoint is read."""
    out: Path | None = None
    """File for the figure of one probe: .svg, .pdf or .png."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        from fwplab.plots import check_format, save
        from fwplab.studies._mechanism import Mechanism

        probes = tuple(name for name in STUDIES.names() if issubclass(STUDIES.load(name), Mechanism))
        if self.probe not in (*probes, "all"):
            raise UserError(f"unknown probe {self.probe!r}; choose from: {', '.join(probes)}, all")
        if self.out is not None:
            check_format(self.out)
            if self.probe == "all":
                raise UserError(f"a file holds one figure: name one of the probes: {', '.join(probes)}")
        checkpoint = find_checkpoint(self.model, self.rule)
        if (task := checkpoint.run.protocol.splits.task) != "transduction":
            raise UserError(
                f"run {checkpoint.run.key} has the task {task}, but the probes need a label at every position; "
                "choose a run with the task transduction, or fwplab extract"
            )
        found, refused = _run_probes(checkpoint, probes if self.probe == "all" else (self.probe,))
        if self.out is not None:
            study, cell = found[self.probe]
            save(study.draw([cell]), self.out)
        facts = {name: study.facts([cell])[0] for name, (study, cell) in found.items()}
        run = checkpoint.run
        about = {"run": run.key, "seed": checkpoint.seed, "selection": checkpoint.rule, "step": checkpoint.step}
        which = f"seed {checkpoint.seed}, {checkpoint.rule} rule, step {checkpoint.step:,}"
        heading = f"{run.mixer_name} on {run.language}, {which}"
        tables = [part for study, cell in found.values() for part in (f"\n{study.question}", study.render([cell]))]
        emit(
            about | {"probes": facts, "refused": refused},
            as_json=self.json,
            text=Group(heading, *tables, *refused.values()),
        )
        return 0


def _run_probes(
    checkpoint: "Checkpoint", names: tuple[str, ...]
) -> tuple[dict[str, tuple["Mechanism", "MechanismRow"]], dict[str, str]]:
    """The results by probe, and the reasons why other probes do not apply. With one probe, that is a `UserError`."""
    from fwplab.studies._mechanism import Mechanism, row_of_checkpoint

    found, refused = {}, {}
    for name in names:
        study = STUDIES.load(name)()
        assert isinstance(study, Mechanism)
        try:
            found[name] = study, row_of_checkpoint(checkpoint, study.probe(checkpoint))
        except UserError as error:
            if len(names) == 1:
                raise
            refused[name] = f"\n{name}: {error}"
    return found, refused

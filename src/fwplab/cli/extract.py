"""`fwplab extract`: extracts an automaton from a trained model, and compares it with that of the language."""

import importlib.util
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from tyro.conf import Positional

from fwplab.cli.checkpoints import find_checkpoint
from fwplab.cli.console import emit
from fwplab.cli.machines import TEXTS, check_suffixes, write_text
from fwplab.errors import UserError
from fwplab.extraction.agreement import LENGTHS
from fwplab.extraction.mealy import Mealy
from fwplab.tables.numbers import percent
from fwplab.training.protocol import Rule

if TYPE_CHECKING:
    from fwplab.extraction.extract import Extraction
    from fwplab.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Extract:
    """Extracts an automaton from a trained model, and compares it with the automaton of the language."""

    model: Positional[str]
    """A checkpoint file; the key of a run; or LANGUAGE/MIXER for the checkpoint that comes with the package."""
    rule: Rule = "paper"
    """For the key of a run: the selection rule whose checkpoint is read."""
    method: str = "lstar"
    """lstar or kv: learned from the model's answers to queries. states: clustered from the model's hidden states."""
    depth: int = 8
    """For a language with infinitely many states: the states at most this many moves from the start."""
    max_states: int = 60
    """The largest automaton to learn."""
    lengths: tuple[int, ...] = LENGTHS
    """Lengths of the held-out words."""
    seed: int = 0
    """Seed of the sampled words."""
    out: tuple[Path, ...] = ()
    """Files to write: .dot, .json, .svg, .pdf, .png."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        for module in ("aalpy", "sklearn"):
            if importlib.util.find_spec(module) is None:
                raise UserError("extraction needs AALpy and scikit-learn: pip install 'fwplab[extract]'")
        from fwplab.extraction.drawing import machines
        from fwplab.extraction.extract import extract
        from fwplab.plots import FORMATS, save

        check_suffixes(self.out, (*TEXTS, *FORMATS))
        checkpoint = find_checkpoint(self.model, self.rule)
        found = extract(
            checkpoint.model(),
            checkpoint.run.task_language,
            method=self.method,  # type: ignore[arg-type]  # checked there, with the choices
            depth=self.depth,
            most=self.max_states,
            lengths=self.lengths,
            seed=self.seed,
        )
        facts = facts_of(found, checkpoint)
        for path in self.out:
            if path.suffix.lower() in TEXTS:
                write_text(path, facts, found.machine.to_dot)
            else:
                save(machines({"extracted": found.machine, "true": found.true}), path)
        emit(facts, as_json=self.json, text=_text(found, checkpoint, [str(path) for path in self.out]))
        return 0


def facts_of(found: "Extraction", checkpoint: "Checkpoint") -> dict[str, Any]:
    """The result of an extraction as plain JSON values."""
    return {
        "run": checkpoint.run.key,
        "language": checkpoint.run.language,
        "mixer": checkpoint.run.mixer_name,
        "seed": checkpoint.seed,
        "selection": checkpoint.rule,
        "method": found.method,
        "states": len(found.machine),
        "true_states": len(found.true),
        "finite": found.finite,
        "complete": found.complete,
        "equivalent": found.equivalent,
        "witness": found.witness,
        "kept": found.kept,
        "queries": found.queries,
        "fidelity": [asdict(each) for each in found.fidelity],
        "machine": _machine(found.machine),
    }


def _machine(machine: Mealy) -> dict[str, Any]:
    return {
        "symbols": machine.symbols,
        "moves": machine.moves.tolist(),
        "outputs": [[machine.name_of(output) for output in row] for row in machine.outputs.tolist()],
    }


def _text(found: "Extraction", checkpoint: "Checkpoint", written: list[str]) -> Group:
    from fwplab.extraction.extract import describe_kept, verdict

    run = checkpoint.run
    table = Table("length", "words", "labelled %", "as the model %", "as the language %", box=None)
    for each in found.fidelity:
        shares = (each.asked, each.with_model / each.words, each.with_language / each.words)
        table.add_row(str(each.length), str(each.words), *map(percent, shares))
    lines = [
        f"{run.mixer_name} on {run.language}, seed {checkpoint.seed}, {checkpoint.rule} rule, by {found.method}:",
        verdict(found),
        f"{found.queries:,} words queried; held-out words whose labels the machine gives at every labelled position:",
    ]
    if found.kept is not None:
        lines.insert(2, describe_kept(found.kept))
    return Group(*lines, table, *written)

"""`fwplab doctor`: compares the operators with the float64 reference on this machine."""

import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table

from fwplab.cli.console import emit
from fwplab.errors import UserError
from fwplab.version import __version__

if TYPE_CHECKING:
    from fwplab.benchmark.determinism import Agreement
    from fwplab.ops.doctor import Finding


@dataclass(frozen=True)
class Doctor:
    """Checks this machine: versions, instruction sets, compilers, GPU, and every backend of every rule.

    Each backend is compared with the float64 reference: outputs, states and all gradients, for several head widths,
    with and without packing. A backend that differs by more than rounding explains is not used any more on this
    machine, and the exit code is 1. The first training on a machine, or with another version, does this by itself.

    With --training it compares whole trainings instead: with one and two threads, together and alone, interrupted, and
    with other instruction sets. It says which end with the same bits, and how far the others differ.
    """

    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    training: bool = False
    """Compare trainings under different conditions on the CPU, about two minutes."""
    json: bool = False
    """Print JSON."""

    def __call__(self) -> int:
        return self._compare_trainings() if self.training else self._examine()

    def _compare_trainings(self) -> int:
        """Prints how far trainings agree. Exit code 1 if the same training, started again, has other bits."""
        from fwplab.benchmark import determinism

        if self.device != "cpu":
            raise UserError(f"--training compares on the CPU: choose --device cpu with it, not {self.device}")
        found = list(determinism.compare())
        machine = _machine()
        broken = [each for each in found if not each.equal_bits and each.condition in determinism.SAME_BITS]
        lines = [f"{name}: {text}" for name, text in machine.items()]
        problems = [f"{each.mixer} has other bits: {each.condition}" for each in broken]
        facts = {"machine": machine, "agreements": [asdict(each) for each in found]}
        emit(facts, as_json=self.json, text=Group(*lines, "", _agreement_table(found), *problems))
        return 1 if problems else 0

    def _examine(self) -> int:
        """Prints how far the operators agree with the reference. Exit code 1 if one does not."""
        from fwplab.cli.training import check_device
        from fwplab.ops import doctor

        check_device(self.device)
        findings = list(doctor.examine(self.device))
        doctor.keep(findings)
        machine = _machine()
        facts = {"machine": machine, "findings": [asdict(finding) for finding in findings]}
        lines = [f"{name}: {text}" for name, text in machine.items()]
        problems = [f"{each.rule}, {each.backend}: {each.problem}" for each in findings if each.problem]
        verdict = problems or [f"all {sum(each.checks for each in findings):,} comparisons passed"]
        emit(facts, as_json=self.json, text=Group(*lines, "", _table(findings), *verdict))
        return 1 if problems else 0


def check_once(device: str) -> None:
    """Checks the operators if no check of this machine and these versions is kept, and prints one line about it."""
    from fwplab.ops import doctor

    if device != "cpu" or doctor.is_off() or doctor.kept_findings() is not None:
        return
    findings = list(doctor.examine())
    doctor.keep(findings)
    failed = sorted({f"{each.backend} of {each.rule}" for each in findings if each.problem})
    result = f"not used here: {', '.join(failed)}; see fwplab doctor" if failed else "all agree with the reference"
    print(f"fwplab: checked the operators once on this machine: {result}", file=sys.stderr)


def _machine() -> dict[str, str]:
    import torch

    from fwplab import ops
    from fwplab.ops.doctor import processor

    compiled, kernels = ops.cpu.info(), ops.triton.info()
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "fwplab": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "PyTorch's instruction set": torch.backends.cpu.get_cpu_capability(),
        "compiled kernels": f"{compiled['variant'] or 'none'} ({compiled['why']})",
        "C++ compiler": next((name for name in ("c++", "g++", "clang++") if shutil.which(name)), "none"),
        "triton": str(kernels.get("why") or "can run"),
        "GPU": ", ".join(gpus) or "none",
    }


def _table(findings: "list[Finding]") -> Table:
    table = Table(
        box=None,
        pad_edge=False,
        caption="Error: the largest, as a share of what rounding explains; above 1 a backend is wrong.",
        caption_justify="left",
    )
    for name in ("rule", "backend", "data type", "checks", "error", "result"):
        table.add_column(name, justify="right" if name in ("checks", "error") else "left", no_wrap=True)
    for each in findings:
        result = "wrong" if each.problem else "passed"
        table.add_row(each.rule, each.backend, each.dtype, str(each.checks), f"{each.error:.2g}", result)
    return table


def _agreement_table(agreements: "list[Agreement]") -> Table:
    """A row for each condition, a column for each mixer."""
    table = Table(
        box=None,
        pad_edge=False,
        caption="The largest difference of two weights, as a share of the largest weight of their tensor. An "
        "asterisk: the accuracies differ, too.",
        caption_justify="left",
    )
    mixers = list(dict.fromkeys(each.mixer for each in agreements))
    table.add_column("condition", no_wrap=True)
    for mixer in mixers:
        table.add_column(mixer, justify="right", no_wrap=True)
    for condition in dict.fromkeys(each.condition for each in agreements):
        row = {each.mixer: each for each in agreements if each.condition == condition}
        table.add_row(condition, *(_agreement(row[mixer]) for mixer in mixers))
    return table


def _agreement(found: "Agreement") -> str:
    mark = "" if found.equal_scores else " *"
    return ("same bits" if found.equal_bits else f"{found.difference:.1g}") + mark

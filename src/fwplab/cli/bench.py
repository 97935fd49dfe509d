"""`fwplab bench`: measures the speed of the operators on this machine, and compares it with other implementations."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from fwplab.cli.console import emit
from fwplab.cli.training import check_device
from fwplab.errors import UserError
from fwplab.files import replaced

if TYPE_CHECKING:
    from fwplab.benchmark.suite import Result


@dataclass(frozen=True)
class Bench:
    """Measures the speed of the operators, of streaming and of the training step on this machine.

    Operators and training step: forward and backward, on one thread. The numbers are medians. All forms of an operator
    are measured in turn in the same run, and the ratios come from that run. A form that fails its check against the
    float64 reference gets no speed, and the exit code is 1. With --device cuda the operators and populations of seeds
    are measured on a GPU, and compared with loops, CUDA graphs, torch.compile, cuDNN's LSTM and flash-linear-attention.
    """

    quick: bool = False
    """Fewer measurements, in about a minute."""
    json: Path | None = None
    """A file to write every number to."""
    only: tuple[str, ...] = ()
    """Names of the operators to measure."""
    show: tuple[Path, ...] = ()
    """Print files that --json wrote instead of measuring: one file, or the medians of several."""
    backend: str = "auto"
    """The form of the operators to measure: the fastest one on this machine unless another is named."""
    device: str = "cpu"
    """cpu, cuda, cuda:1, ..."""
    published: Path | None = None
    """A clone of IDSIA/fwp-formal-lang, to measure its CUDA kernels too (with --device cuda)."""

    def __call__(self) -> int:
        from fwplab.benchmark import suite as suites
        from fwplab.benchmark.operators import OPERATORS
        from fwplab.benchmark.published_cuda import check_folder
        from fwplab.benchmark.tables import tables

        if self.show:
            reports = [read(file) for file in self.show]
            report = suites.medians(reports) if len(reports) > 1 else reports[0]
            emit(report, as_json=False, text=tables(suites.results_of(report), report["machine"]))
            return 0
        for name in self.only:
            if name not in OPERATORS:
                raise UserError(f"no operator {name!r}; choose from: {', '.join(OPERATORS)}")
        if self.json is not None and not self.json.parent.is_dir():
            raise UserError(f"no folder {str(self.json.parent)!r} for --json")
        check_device(self.device)
        if self.published is not None:
            check_folder(self.published)
            if self.device == "cpu":
                raise UserError("--published: the published code has kernels for CUDA alone; choose --device cuda")
        if self.device == "cpu":
            parts = list(suites.work(suites.QUICK if self.quick else suites.FULL, self.only, self.backend))
        else:
            options: dict[str, Any] = {"quick": self.quick, "published": self.published}
            parts = list(suites.gpu_work(self.device, self.only, self.backend, **options))
        results: list[Result] = []
        with Console(file=sys.stderr).status("") as status:
            for place, (name, part) in enumerate(parts, start=1):
                status.update(f"{place} of {len(parts)}: {name}")
                results += part()
        report = suites.report(results, self.device)
        if self.json is not None:
            with replaced(self.json) as temporary:
                temporary.write_text(json.dumps(report, indent=2) + "\n")
        emit(report, as_json=False, text=tables(results, report["machine"]))
        return 1 if any(getattr(result, "error", "") for result in results) else 0


def read(file: Path) -> dict[str, Any]:
    """Reads a file that `--json` wrote. Raises `UserError` for any other file."""
    from fwplab.benchmark import suite as suites

    try:
        report: dict[str, Any] = json.loads(file.read_text())
        suites.results_of(report)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"--show: {file} is no file that fwplab bench --json wrote ({error})") from error
    return report

"""Converts trained split-delta-net layers to DeltaNet, and measures the accuracy of the published layer.

    python scripts/fold_counting.py reset_dyck_1

Run `fwplab study run counting --mixers split-delta-net` first. The script uses the checkpoint of the paper's rule of
each seed. It prints the accuracies on Bin0 and Bin1, in percent, for each smallest erase gate.
"""

import sys

from fwplab.model.folding import fold_split_delta_net
from fwplab.storage.store import folder_of
from fwplab.studies.counting import Counting
from fwplab.training.checkpoint import checkpoint_path, load_checkpoint
from fwplab.training.evaluate import score
from fwplab.training.trainer import load_splits

LEAST_ERASE = (0.0, 1e-6, 1e-5)


def main(language: str) -> None:
    """Prints a line for each seed."""
    asked = Counting().runs_of(["split-delta-net"], quick=False)
    run = next(run for run in asked if run.language == language)
    splits = load_splits(run)
    for seed in run.seeds:
        checkpoint = load_checkpoint(checkpoint_path(folder_of(run.member(seed)), seed, "paper"))
        cells = []
        for least in LEAST_ERASE:
            model = fold_split_delta_net(checkpoint.model(), run.model, least_erase=least)
            shares = (int(score(model, data)[0]) / len(data) for data in (splits.bin0, splits.bin1))
            cells.append(f"gates from {least:g}: " + " / ".join(f"{100 * share:.2f}" for share in shares))
        print(f"seed {seed}: " + ", ".join(cells))


if __name__ == "__main__":
    main(sys.argv[1])

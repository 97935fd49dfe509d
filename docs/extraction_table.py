"""The tables of docs/extraction.md, from the checkpoints that come with the package."""

import torch

from fwplab.errors import UserError
from fwplab.extraction.extract import Method, extract, verdict
from fwplab.languages import load_language
from fwplab.storage.archive import shipped_checkpoints
from fwplab.studies.irie2023 import LANGUAGES, MODELS, REGULAR
from fwplab.training.checkpoint import Checkpoint, load_checkpoint


def answer(checkpoint: Checkpoint, method: Method) -> str:
    try:
        return verdict(extract(checkpoint.model(), load_language(checkpoint.run.language), method=method))
    except UserError as error:
        return str(error)


def counted(checkpoint: Checkpoint) -> tuple[str, str]:
    found = extract(checkpoint.model(), load_language(checkpoint.run.language))
    return verdict(found), "no end seen" if found.kept is None else f"{found.kept}"


def main() -> None:
    torch.set_num_threads(1)
    found = {}
    for path in shipped_checkpoints("irie2023"):
        checkpoint = load_checkpoint(path)
        found[checkpoint.run.language, checkpoint.run.mixer_name] = checkpoint
    print("| language | model | L* | clusters of states |\n|---|---|---|---|")
    for cell in ((language, mixer) for language in REGULAR for mixer in MODELS):
        if cell in found:
            print(f"| {' | '.join((*cell, answer(found[cell], 'lstar'), answer(found[cell], 'states')))} |", flush=True)
    print("\n| language | model | machine to a depth of 8, L* | kept |\n|---|---|---|---|")
    for cell in ((language, mixer) for language in LANGUAGES for mixer in MODELS):
        if cell in found and cell[0] not in REGULAR:
            print(f"| {' | '.join((*cell, *counted(found[cell])))} |", flush=True)


if __name__ == "__main__":
    main()

"""All doors, one kind a file. A file has a tuple `DOORS`."""

from tests.fuzz.door import Door
from tests.fuzz.doors import checkpoints, commands, corpora, explorer, published, specs, storage, strings

DOORS: tuple[Door, ...] = (
    *strings.DOORS,
    *corpora.DOORS,
    *checkpoints.DOORS,
    *published.DOORS,
    *specs.DOORS,
    *storage.DOORS,
    *commands.DOORS,
    *explorer.DOORS,
)

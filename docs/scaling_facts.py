"""The counts in the list below the figure of `scaling` in docs/studies.md, from finished and shipped records."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from fwplab.languages import load_language
from fwplab.storage.archive import shipped
from fwplab.storage.store import Store
from fwplab.studies.irie2023 import REGULAR
from fwplab.studies.scaling import LENGTHS, Scaling
from fwplab.studies.study import finished
from fwplab.training.record import Member

LONGEST = LENGTHS[-1]


@dataclass(frozen=True)
class Seed:
    mixer: str
    language: str
    member: Member

    def at(self, length: int, name: str) -> float | None:
        return self.member.measurement("scaling", "paper", length, name)

    def right(self, length: int) -> bool:
        return self.at(length, "correct") == self.at(length, "strings")

    @property
    def lengths(self) -> list[int]:
        return [length for length in LENGTHS if self.at(length, "strings") is not None]

    @property
    def always(self) -> bool:
        return all(map(self.right, self.lengths))

    @property
    def regular(self) -> bool:
        return self.language in REGULAR

    def ratio(self, name: str) -> float:
        """The value at the longest length divided by that at the shortest; infinity if the state overflowed."""
        first, last = (self.at(length, name) for length in (self.lengths[0], self.lengths[-1]))
        assert first is not None
        assert last is not None
        return math.inf if math.isnan(last) else last / first  # no number: the state has overflowed


def seeds() -> Iterator[Seed]:
    study = Scaling()
    with Store() as own, shipped("irie2023") as others:
        for record in finished(study.runs(quick=False), (own, others)):
            for member in record.members:
                if member.measurement("scaling", "paper", LENGTHS[0], "strings"):
                    yield Seed(record.run.mixer_name, record.run.language, member)


def of(found: list[Seed], *mixers: str, regular: bool | None = None) -> list[Seed]:
    return [s for s in found if s.mixer in mixers and (regular is None or s.regular == regular)]


def share(part: list[Seed], whole: list[Seed]) -> str:
    return f"{len(part)} of {len(whole)}"


def main() -> None:
    found = list(seeds())
    print("measured:", len(found))
    for mixer in ("lstm", "e-lstm", "srwm", "recurrent-delta"):
        regular = of(found, mixer, regular=True)
        print(f"{mixer}, regular, right at all lengths:", share([s for s in regular if s.always], regular))
    counting = [s for s in found if not s.regular]
    print("other languages, right at all lengths:", share([s for s in counting if s.always], counting))
    fine = [s for s in of(found, "transformer") if s.right(100)]
    print("Transformers right at 100 that are at 200:", share([s for s in fine if s.right(200)], fine))
    three = of(found, "linear-transformer", "delta-net", "transformer", regular=True)
    early = [s for s in three if (error := s.at(s.lengths[-1], "first_error")) is not None and error < 50]
    print("linear Transformer, DeltaNet, Transformer, regular, first error within 50 symbols:", share(early, three))
    linear = of(found, "linear-transformer")
    ratios = [s.ratio("norm") for s in linear]
    print(f"linear Transformer's norm grows {min(ratios):.0f} to {max(ratios):.0f} times in {len(linear)}")
    print("of them right at 1,000:", [s.language for s in linear if s.right(1_000)])
    recurrent = of(found, "recurrent-delta", regular=True)
    for name, group in (
        ("failing", [s for s in recurrent if not s.always]),
        ("right", [s for s in recurrent if s.always]),
    ):
        doubled = [s for s in group if s.ratio("norm") > 2]
        print(f"Recurrent Delta, regular, {name}, norm more than doubles:", share(doubled, group))
    failing = [s for s in of(found, "e-lstm") if not s.always]
    print(f"e-LSTM failing, norm within {max(abs(s.ratio('norm') - 1) for s in failing):.1%}: {len(failing)}")
    delta = of(found, "delta-net")
    print("DeltaNet, norm within a factor of 2:", share([s for s in delta if 0.5 <= s.ratio("norm") <= 2], delta))
    srwm = of(found, "srwm")
    over = [s for s in srwm if any(math.isnan(s.at(length, "norm") or 0) for length in s.lengths)]
    print("SRWM overflows at some length:", share(over, srwm))
    saturation = [s.at(LONGEST, "saturation") or 0 for s in of(found, "e-lstm") if s.always]
    print(f"e-LSTM always right, saturated: {min(saturation):.0%} to {max(saturation):.0%}")
    for mixer, more in (("e-lstm", True), ("lstm", False)):
        group = [s for s in of(found, mixer) if not s.always]
        moved = [s for s in group if (s.ratio("saturation") > 1) == more and s.ratio("saturation") != 1]
        print(f"{mixer} failing, saturated units become {'more' if more else 'fewer'}:", share(moved, group))
    for length in (5_000, LONGEST):
        half = load_language("counter_2").lengths(length - 16, length)[-1] // 2
        errors = [s.at(length, "first_error") or 0 for s in of(found, "e-lstm") if s.language == "counter_2"]
        print(f"e-LSTM, a^n b^n of length {length:,}, b's labelled right:", sorted(int(e) - half for e in errors))


if __name__ == "__main__":
    main()

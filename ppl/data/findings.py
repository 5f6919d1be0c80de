"""What a check has found, in plain words: like with like, a few examples of each, and what to do."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ppl.jobs.errors import UserError

SHOWN = 3  # examples of one kind; the rest is counted


@dataclass(frozen=True, order=True)
class Finding:
    """Something in a dataset that is wrong, or worth knowing."""

    place: str
    """File, or line of it, below the dataset's folder."""
    what: str
    remedy: str
    many: str
    """What several of its kind have in common, behind their number: `photos are not there`."""

    @property
    def line(self) -> str:
        """As the only one of its kind."""
        return f"{self.place}: {self.what}; {self.remedy}"

    @classmethod
    def of(cls, error: UserError, place: str, many: str) -> "Finding":
        """From an error, at another place."""
        return cls(place, error.what, error.remedy, many)


def paragraphs(findings: Iterable[Finding]) -> Iterator[str]:
    """One line for each kind, in the order in which kinds are first found."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.many, finding.remedy), []).append(finding)
    for (many, remedy), kind in kinds.items():
        if len(kind) == 1:
            yield kind[0].line
            continue
        alike = len({finding.what for finding in kind}) == 1
        examples = [finding.place if alike else f"{finding.place} ({finding.what})" for finding in kind[:SHOWN]]
        yield f"{len(kind):,} {many}, such as {listed(examples)}; {remedy}"


def listed(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last

"""Findings of a dataset check, grouped by kind, with a few examples and the remedy."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppl.jobs.errors import UserError
from ppl.jobs.files import write_text

MAX_EXAMPLES = 3  # of one kind; the others are only counted


@dataclass(frozen=True, order=True)
class Finding:
    """A fault of a dataset, or something worth a warning."""

    place: str
    """File or line of a file, relative to the dataset folder."""
    what: str
    remedy: str
    many: str
    """Description of several findings of this kind, after their number: `photos are missing`."""

    @property
    def line(self) -> str:
        """The finding as one line."""
        return f"{self.place}: {self.what}; {self.remedy}"

    @classmethod
    def of(cls, error: UserError, place: str, many: str) -> "Finding":
        """Return the finding for an error, at another place."""
        return cls(place, error.what, error.remedy, many)


def paragraphs(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield one line for each kind of finding, in the order of their first occurrence."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.many, finding.remedy), []).append(finding)
    for (many, remedy), kind in kinds.items():
        if len(kind) == 1:
            yield kind[0].line
            continue
        alike = len({finding.what for finding in kind}) == 1
        examples = [finding.place if alike else f"{finding.place} ({finding.what})" for finding in kind[:MAX_EXAMPLES]]
        yield f"{len(kind):,} {many}, such as {listed(examples)}; {remedy}"


def write_list(path: Path, findings: Sequence[Finding], *, complete: bool = False) -> Path | None:
    """Write one line per finding if `paragraphs` leave some out; return the file, None if there is none.

    With `complete` the file is written for any number of findings. A file of an earlier check is removed. A folder
    that cannot be written gets no file.
    """
    kinds = Counter((finding.many, finding.remedy) for finding in findings)
    try:
        if max(kinds.values(), default=0) <= MAX_EXAMPLES and not complete:
            path.unlink(missing_ok=True)
            return None
        write_text(path, "".join(f"{finding.line}\n" for finding in findings))
    except (OSError, UserError):
        return None
    return path


def listed(names: Iterable[str]) -> str:
    """Join names as in `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last

"""What the datasets of the experiments are made from, compared with the state from which they were prepared.

A source with a function `parts` (ppl.data.prepare) tells the state of photos, labels and masks of each split. A rule
has the state of the parts that its step reads as a parameter, so that a change of these reruns it, and no other change.
A job that reads only parts of which nothing has changed must not depend on the job that prepares the dataset again.
"""

import ast
import atexit
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ppl.data import source
from ppl.data.settings import SOURCES, Data
from ppl.data.state import Parts, Record, digest, read_record, write_record
from ppl.jobs import slots
from ppl.jobs.errors import UserError
from ppl.workflow import parameters, paths, snakemake_records
from ppl.workflow.config import Experiment

CODE = ("ppl.data.prepare", "data.source", "data.{source}")
"""Module and keys of the code that prepares a dataset; another code is another state of all parts."""
STATE = "state of the files: "
"""Start of the parameter that holds the parts."""


@dataclass(frozen=True)
class NotCompared:
    """A parameter that Snakemake does not compare: its record of a job holds plain values only.

    Of datasets without parts, of which steps depend on everything, and of flags that decide no result.
    """

    text: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass
class Datasets:
    """Datasets of the experiments; their files are looked up once, when a rule asks for them."""

    prefix: str = ""
    """Prefix of a `module` statement for all results."""
    known: dict[str, tuple[Parts, Record]] = field(default_factory=dict)
    """Parts of each dataset, and its record, by the name of the experiment that prepares it."""
    roots: dict[str, Path] = field(default_factory=dict)
    """The folders of their sources."""

    def folder(self, experiment: Experiment) -> Path:
        """Return the dataset folder."""
        return Path(f"{self.prefix}{paths.data_folder(experiment)}")

    def prepared_from(self, experiment: Experiment) -> str:
        """Return the state of all parts, as a text from which Snakemake's record of the dataset gives them again.

        The text has two forms: one takes the other's place if the folder itself has to be written again.
        """
        state = f"{STATE}{sorted(self._look_up(experiment)[0].items())}"
        folder = self.folder(experiment)
        again = f"{state} " in _texts(folder)
        if folder.exists() and _is_incomplete(folder):
            again = not again
        return f"{state} " if again else state

    def state(self, experiment: Experiment, names: Sequence[str]) -> str:
        """Return the state of parts of a dataset; of all if there are no `names`."""
        parts, _ = self._look_up(experiment)
        return digest(f"{name} {parts.get(name)}" for name in names or sorted(parts))

    def unchanged(self, experiment: Experiment, names: Sequence[str]) -> bool:
        """Return whether parts of the dataset folder, all without `names`, are as they were when it was prepared."""
        parts, record = self._look_up(experiment)
        return all(record.prepared.get(name) == parts.get(name) for name in names or parts)

    def refuse_changed_files(self, experiment: Experiment) -> None:
        """Raise UserError if a dataset folder of which Snakemake has no record was prepared from other files."""
        folder = self.folder(experiment)
        if not folder.is_dir() or _is_place(folder) or snakemake_records.record_of(str(folder)):
            return
        parts, record = self._look_up(experiment)
        before = {name: part.split()[-1] for name, part in record.prepared.items()}  # without the code
        changed = [name for name, part in parts.items() if name in before and before[name] != part.split()[-1]]
        if changed:
            what = f"its data have changed ({', '.join(changed)})"
            what += ", and .snakemake, by which Snakemake notices it, was not copied"
            remedy = f"copy .snakemake too, or delete what to compute again: rm -r {experiment.folder}"
            raise UserError(experiment.folder, what, remedy)

    def remember(self) -> None:
        """Write the records beside the dataset folders, with digests of the files."""
        for name, (_, record) in self.known.items():
            folder = Path(f"{self.prefix}results/{name}/data")
            if folder.is_dir():
                record.prepared = _prepared(folder) or record.prepared
                record.complete(self.roots[name])
                _write(folder, record)

    def _look_up(self, experiment: Experiment) -> tuple[Parts, Record]:
        name = experiment.repeats
        if name not in self.known:
            data, folder = experiment.settings.data, self.folder(experiment)
            self.roots[name] = Path(getattr(slots.settings_of(data, "source"), "path", None) or "")
            before, record = read_record(folder), read_record(folder)
            record.prepared = _prepared(folder) or record.prepared
            code = parameters.code(experiment.settings, *CODE)
            parts = {key: f"{code} {part}" for key, part in _parts(data, self.roots[name], record).items()}
            if record != before and folder.is_dir():
                _write(folder, record)
            self.known[name] = (parts, record)
        return self.known[name]


def has_parts(data: Data) -> bool:
    """Return whether the source of data tells what each step reads."""
    return hasattr(slots.load(SOURCES, data.source), "parts")


def names_of(experiment: Experiment, wildcards: Mapping[str, str], reads: Sequence[str]) -> list[str]:
    """Return the names of parts, such as "photos train" for "photos train_split"; `split` is the wildcard."""
    names = []
    for read in reads:
        kinds, key = read.split(" ")
        split = wildcards["split"] if key == "split" else getattr(experiment.settings.data, key)
        names += [f"{kind} {split}" for kind in kinds.split("+")]
    return names


def keep_places(folder: Path, check: Path) -> None:
    """Create something empty in place of a dataset folder, or of its check, that a failed job has removed.

    Snakemake would compute everything behind a missing input again, also what reads unchanged parts of it. The date is
    1970: all inputs are newer, so Snakemake runs the job again. What is still empty at the end of this process, as
    after a dry run, is removed; in a read-only folder nothing is created.
    """
    if not read_record(folder).prepared or not folder.parent.is_dir():
        return
    for path, create, remove in ((folder, Path.mkdir, Path.rmdir), (check, Path.touch, _remove_empty)):
        if not os.path.lexists(path):
            with suppress(OSError):
                create(path)
                os.utime(path, (0, 0))
                atexit.register(_remove_place, path.absolute(), remove)


def _remove_place(path: Path, remove: Callable[[Path], None]) -> None:
    with suppress(OSError):
        if _is_place(path):
            remove(path)


def _remove_empty(file: Path) -> None:
    if not file.stat().st_size:
        file.unlink()


def _has_dangling_link(folder: Path) -> bool:
    if not folder.is_dir():
        return folder.is_symlink()
    if folder.is_symlink():
        return False
    with os.scandir(folder) as entries:
        return any(entry.is_symlink() and not os.path.exists(entry.path) for entry in entries)


def _parts(data: Data, root: Path, record: Record) -> Parts:
    """Return the present parts of a dataset; afterwards the record holds the files that they are made of."""
    asked: dict[str, None] = {}

    def token(path: Path) -> str:
        name = path.relative_to(root).as_posix()
        asked[name] = None
        return record.token_of(path, name)

    parts = slots.load(SOURCES, data.source).parts(slots.settings_of(data, "source"), source.splits(data), token)
    if asked:
        record.files = {name: state for name, state in record.files.items() if name in asked}
    return parts


def _prepared(folder: Path) -> Parts:
    """Return the parts from which a dataset folder was prepared, by Snakemake's record of it; empty without one.

    Snakemake records failed jobs too, so the record of a folder that is not there, or only its place, says nothing.
    """
    if not folder.is_dir() or _is_place(folder):
        return {}
    states = (text.removeprefix(STATE) for text in _texts(folder) if text.startswith(STATE))
    return dict(ast.literal_eval(next(states, "[]").strip()))


def _texts(folder: Path) -> list[str]:
    """Return the parameters that are texts of the job that prepared a dataset folder."""
    params = snakemake_records.params_of(str(folder))
    return [ast.literal_eval(param) for param in params if param.startswith(("'", '"'))]


def _is_place(path: Path) -> bool:
    """Return whether a dataset folder, or its check, is only the place of one (`keep_places`)."""
    return path.stat().st_mtime < 1


def _is_incomplete(folder: Path) -> bool:
    """Return whether a dataset folder is only the place of one, or has links that lead nowhere."""
    return _is_place(folder) or any(map(_has_dangling_link, folder.iterdir()))


def _write(folder: Path, record: Record) -> None:
    with suppress(OSError, UserError):  # in a read-only folder or on a full disk nothing is remembered
        write_record(folder, record)

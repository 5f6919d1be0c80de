"""Source `folder`: a dataset folder of the user's own, linked rather than copied."""

import os.path
import shutil
from dataclasses import dataclass
from pathlib import Path

from ppl.command import command
from ppl.data.dataset import LISTS
from ppl.files import UserError, atomic
from ppl.reasons import reason

LINKED = ("JPEGImages", "SegmentationClass")  # the second is optional


@dataclass(frozen=True)
class Settings:
    path: Path
    """The user's dataset folder."""
    splits: tuple[str, ...]
    out: Path

    def reads(self) -> tuple[Path, ...]:
        """No more than what it links and copies, whose digest is that of the output."""
        return ()


def main(settings: Settings) -> None:
    try:
        source, out = settings.path.resolve(), settings.out.resolve()
    except (OSError, RuntimeError) as error:
        raise UserError(f"{settings.path}: {reason(error)}; name the dataset folder itself") from None
    if out == source or out in source.parents:
        raise UserError(f"{settings.out}: would replace the dataset folder {source}; keep the two apart")
    files = [
        Path("classes.txt"),
        Path("labels.csv"),
        *(LISTS / f"{split}.txt" for split in sorted(set(settings.splits))),
    ]
    missing = [str(name) for name in files if not os.path.isfile(source / name)]
    if not os.path.isdir(source / "JPEGImages"):
        missing.append("JPEGImages")
    if missing:
        raise UserError(f"{settings.path}: lacks {', '.join(missing)}; docs/own-data.md shows the layout of a dataset")
    if os.path.isfile(source / "SegmentationClass"):
        raise UserError(f"{settings.path}/SegmentationClass: is a file; put the masks into a folder, or take it out")
    with atomic(settings.out) as folder:
        (folder / LISTS).mkdir(parents=True)
        for name in files:
            try:
                shutil.copyfile(source / name, folder / name)
            except OSError as error:
                raise UserError(f"{source / name}: {error.strerror}; make the file readable") from None
        for name in LINKED:
            if os.path.isdir(source / name):
                (folder / name).symlink_to(source / name, target_is_directory=True)


if __name__ == "__main__":
    command(main, Settings)

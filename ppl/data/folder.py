"""Source `folder`: a dataset folder of the user's own, linked rather than copied."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ppl.command import command
from ppl.data.dataset import LISTS
from ppl.files import UserError, atomic

LINKED = ("JPEGImages", "SegmentationClass")


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
    source = settings.path.resolve()
    files = [
        Path("classes.txt"),
        Path("labels.csv"),
        *(LISTS / f"{split}.txt" for split in sorted(set(settings.splits))),
    ]
    missing = [str(name) for name in [*files, Path("JPEGImages")] if not (source / name).exists()]
    if missing:
        raise UserError(f"{settings.path}: lacks {', '.join(missing)}; docs/own-data.md shows the layout of a dataset")
    with atomic(settings.out) as folder:
        (folder / LISTS).mkdir(parents=True)
        for name in files:
            shutil.copyfile(source / name, folder / name)
        for name in LINKED:
            if (source / name).is_dir():
                (folder / name).symlink_to(source / name, target_is_directory=True)


if __name__ == "__main__":
    command(main, Settings)

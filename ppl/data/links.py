"""Links to photos, masks and their folders: relative inside a project, so that it can be moved, else absolute."""

import os
from collections.abc import Iterator
from pathlib import Path


def link_to(link: Path, target: Path) -> None:
    """Create a symbolic link to a file or folder.

    It is relative if both lie below the working directory, absolute otherwise: photos elsewhere stay where they are
    when the project moves. The folder of `link` may be renamed beside itself, as `ppl.jobs.files.atomic` does.
    """
    base, folder = Path.cwd(), Path(os.path.realpath(link.parent))
    # As it is written first: a folder of photos may itself be a link, which moves with the project.
    for path in (target.absolute(), Path(os.path.realpath(target.parent), target.name)):
        if folder.is_relative_to(base) and path.is_relative_to(base) and ".." not in path.parts:
            os.symlink(os.path.relpath(path, folder), link)
            return
    os.symlink(target.absolute(), link)


def missing_target(path: Path | str) -> Path | None:
    """Return the missing target of a link, which is `path` or a folder above it; None if no link is at fault."""
    if os.path.exists(path):
        return None
    for each in _upwards(Path(os.path.abspath(path))):
        if each.is_symlink() and not os.path.exists(each):
            target = Path(os.path.realpath(each))
            return None if target.is_symlink() else target  # a link that leads to itself has none
        if os.path.exists(each):
            return None
    return None


def _upwards(path: Path) -> Iterator[Path]:
    yield path
    yield from path.parents

"""Makes the documentation, as it is read on GitHub, a site: pages from outside docs/, their links, and their lists.

MkDocs calls these functions (mkdocs.yml). README, CONTRIBUTING and the like stay where GitHub looks for them.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "README.md": "readme.md",
    "config/README.md": "configuration.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "ppl/data/sources/demo_photos/README.md": "demo-photos.md",
}
"""Pages that are not in docs/: path in the repository, and in the site."""
FENCE = re.compile(r"^\s*(```|~~~)")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
ITEM = re.compile(r"^( *)([-*]|\d+\.) +(?=\S)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages of `ELSEWHERE`."""
    for path, page in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """The page's links lead to where their targets are in the site, and its lists are indented as MkDocs wants them."""
    paths = {page: path for path, page in ELSEWHERE.items()}
    path = paths.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    known = {file.src_uri for file in files}
    return indent_by_four(outside_code(markdown, lambda line: relink(line, path, known, config.repo_url)))


def relink(line: str, path: str, known: set[str], repository: str | None) -> str:
    """Links of a line of the file `path` of the repository, as they are from its page in the site.

    What is no part of the site, such as code, is linked in `repository`; without one only its name is left.
    """
    here = ELSEWHERE.get(path, path.removeprefix("docs/"))

    def link(match: re.Match[str]) -> str:
        image, text, target = match.groups()
        file, mark, anchor = target.partition("#")
        if ":" in file or not file:
            return match[0]
        found = posixpath.normpath(posixpath.join(posixpath.dirname(path), file))
        inside = ELSEWHERE.get(found, found.removeprefix("docs/"))
        if (found in ELSEWHERE or found.startswith("docs/")) and inside in known:
            return f"{image}[{text}]({posixpath.relpath(inside, posixpath.dirname(here) or '.')}{mark}{anchor})"
        return f"[{text}]({repository.rstrip('/')}/blob/main/{found}{mark}{anchor})" if repository else text

    return LINK.sub(link, line)


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Applies `change` to the lines outside of fenced blocks."""
    lines, inside = [], False
    for line in markdown.split("\n"):
        inside ^= bool(FENCE.match(line))
        lines.append(line if inside or FENCE.match(line) else change(line))
    return "\n".join(lines)


def indent_by_four(markdown: str) -> str:
    """What belongs to a list item, indented by its marker's width as on GitHub, is indented by four, as here."""
    lines: list[str] = []
    columns: list[int] = []  # at which the text of each open item begins
    fenced = False
    for line in markdown.split("\n"):
        indent = len(line) - len(line.lstrip())
        item = None if fenced else ITEM.match(line)
        if line.strip() and not fenced:
            while columns and indent < columns[-1]:
                columns.pop()
        depth = len(columns)
        lines.append(" " * (4 * depth) + line[columns[-1] if columns else 0 :] if line.strip() else line)
        fenced ^= bool(FENCE.match(line))
        if item:
            columns.append(item.end())
    return "\n".join(lines)

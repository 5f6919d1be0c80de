"""Read the documentation: its pages, fenced blocks, commands and code spans."""

import re
import subprocess
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FENCED = re.compile(r"^ *```(?P<language>\S*)\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)
PLACEHOLDER = "path/to/ppl"  # of the repository, in commands and files
CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page. Without a language it holds shell commands."""

    where: str
    """PAGE:LINE of its first fence."""
    language: str
    text: str
    prose: str
    """Text between the previous block and this one."""


def pages() -> list[Path]:
    """Return every page, in reading order: later pages use files that earlier ones write."""
    docs = sorted((REPOSITORY / "docs").glob("*.md"))
    others = [REPOSITORY / page for page in ("config/README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [REPOSITORY / "README.md", *docs, *others, *sorted((REPOSITORY / "ppl").glob("**/README.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, dedented. ValueError for a block without an end."""
    text, end = page.read_text(encoding="utf-8"), 0
    if len(re.findall("^ *```", text, re.MULTILINE)) != 2 * len(FENCED.findall(text)):
        raise ValueError(f"{page}: a fenced block does not end")
    for match in FENCED.finditer(text):
        where = f"{page.relative_to(REPOSITORY)}:{text.count(chr(10), 0, match.start()) + 1}"
        yield Block(where, match["language"], textwrap.dedent(match["text"]), text[end : match.start()])
        end = match.end()


def commands(block: Block) -> list[str]:
    """Return the commands of a shell block: continued lines joined, comments removed."""
    if block.language:
        return []
    lines = (re.sub(r"(^|\s+)#.*$", "", line) for line in block.text.replace("\\\n", " ").splitlines())
    return [" ".join(line.split()) for line in lines if line.strip()]


def repository_files() -> list[str]:
    """Return the files that git tracks or would track."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split("\0")
    return [name for name in names if (REPOSITORY / name).is_file() or (REPOSITORY / name).is_symlink()]


def code_spans(page: Path) -> list[str]:
    """Return the inline code of a page."""
    return CODE.findall(FENCED.sub("", page.read_text(encoding="utf-8")))


def file_name(block: Block) -> str | None:
    """Return the file that a block is: `# NAME.py` in its first line, or the YAML file that the prose names last."""
    if block.language == "python":
        first = re.match(r"# ([\w-]+\.py)\n", block.text)
        return first and first[1]
    if block.language != "yaml":
        return None
    names = re.findall(r"`([\w-]+\.ya?ml)`", block.prose)
    return names[-1] if names else None

"""What the documentation holds: its pages, their fenced blocks, commands, links and names."""

import re
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ABSENT = {"apptainer", "conda", "docker", "kubectl", "mamba", "sbatch", "snakedeploy", "uv"}
"""Programs that a block may begin with and that a machine may lack: the block holds commands all the same."""
FENCE = re.compile(r"^(?P<indent> *)(?P<mark>```+|~~~+) *(?P<language>\S*) *$")
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
HEADING = re.compile(r"^#+ +(.*?) *#*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    """Of its first fence, from 1."""
    language: str
    text: str
    before: str
    """The prose before it, back to the block before."""

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def pages() -> list[Path]:
    """Every page, in the order in which a reader comes to them."""
    docs = sorted((REPOSITORY / "docs").glob("*.md"))
    others = ["config/README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    inside = sorted((REPOSITORY / "ppl").glob("**/README.md"))
    return [REPOSITORY / "README.md", *docs, *(REPOSITORY / page for page in others), *inside]


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, without the indentation of a list around them."""
    start, fence, held, prose = 0, None, [], []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        match = FENCE.match(line)
        if fence is None and match:
            start, fence, held = number, match, []
        elif fence is None:
            prose.append(line)
        elif match and match["mark"] == fence["mark"] and not match["language"]:
            text = textwrap.dedent("\n".join(held))
            yield Block(page, start, fence["language"], text, "\n".join(prose))
            fence, prose = None, []
        else:
            held.append(line)
    if fence is not None:
        raise ValueError(f"{page}:{start}: this block does not end")


def prose(page: Path) -> str:
    """The page with its fenced blocks blanked."""
    lines, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = FENCE.match(line)
        lines.append("" if inside or fence else line)
        inside ^= bool(fence)
    return "\n".join(lines)


def is_shell(block: Block) -> bool:
    """Whether a block holds commands: by its language or, without one, by its first word."""
    first = block.text.split(maxsplit=1)[:1]
    runs = bool(first) and (first[0] in ABSENT or shutil.which(first[0]) is not None or first[0] == "source")
    return block.language in {"sh", "bash", "shell", "console"} or (not block.language and runs)


def commands(block: Block) -> list[str]:
    """The commands of a shell block, one a line, continued lines joined, comments behind them dropped."""
    if not is_shell(block):
        return []
    lines = block.text.replace("\\\n", " ").splitlines()
    bare = (re.sub(r"(^|\s+)#.*$", "", line).strip().removeprefix("$ ") for line in lines)
    return [re.sub(r"\s+", " ", line) for line in bare if line]


def all_commands() -> list[tuple[str, str]]:
    """Where each command of the documentation stands, and the command."""
    return [(block.where, command) for page in pages() for block in blocks(page) for command in commands(block)]


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and MkDocs make them."""
    titles = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def file_named(block: Block) -> str | None:
    """The YAML file that the prose before a block calls it; the last one named."""
    named = re.findall(r"`([\w-]+\.ya?ml)`", block.before)
    return named[-1] if named else None

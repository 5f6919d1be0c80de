"""Build the site from pages as GitHub shows them. MkDocs calls these functions (mkdocs.yml).

README, CONTRIBUTING and other pages stay where GitHub expects them; links between pages are those of the repository.
"""

import logging
import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
OUTSIDE = {
    "README.md": "readme.md",
    "config/README.md": "configuration.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "ppl/data/sources/demo_photos/README.md": "demo-photos.md",
}
"""Pages outside docs/: path in the repository -> path in the site."""
BLOCK_OR_LINK = re.compile(
    r"^ *```.*?^ *```|(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<file>[^()\s#]*)(?P<anchor>#[^()\s]*)?\)",
    re.DOTALL | re.MULTILINE,
)
LOG = logging.getLogger("mkdocs.hooks")  # a strict build fails on warnings


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of `OUTSIDE`."""
    for path, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite the links of a page."""
    sources = {site: path for path, site in OUTSIDE.items()}
    path = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return relink(markdown, path, {file.src_uri for file in files}, config.repo_url)


def relink(markdown: str, path: str, site: set[str], repository: str | None) -> str:
    """Return the text of the file `path` of the repository with the links of its page in the site.

    Links to files outside of the site, such as code, lead to `repository`; without one only their text remains. Logs a
    warning for links to missing files. Fenced blocks are unchanged.
    """
    here = OUTSIDE.get(path, path.removeprefix("docs/"))

    def link(match: re.Match[str]) -> str:
        file, anchor = match["file"], match["anchor"] or ""
        if not file or ":" in file:
            return match[0]
        target = normpath(join(dirname(path), file))
        page = OUTSIDE.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if page in site:
            return f"{match['image']}[{match['text']}]({relpath(page, dirname(here) or '.')}{anchor})"
        if not (ROOT / target).exists():
            LOG.warning("%s: link to %s, which does not exist", path, target)
        return (
            f"[{match['text']}]({repository.rstrip('/')}/blob/main/{target}{anchor})" if repository else match["text"]
        )

    return BLOCK_OR_LINK.sub(link, markdown)

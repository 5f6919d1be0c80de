"""The site: built without a warning, read from disk without a request, at home in light and dark and on a phone."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

REPOSITORY = Path(__file__).parents[2]


def load_hooks():
    """The module that MkDocs loads from its path."""
    spec = importlib.util.spec_from_file_location("hooks", REPOSITORY / "docs" / "site" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = load_hooks()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_pages_from_outside_are_in_the_site(site):
    for page in hooks.ELSEWHERE.values():
        assert (site / page).with_suffix(".html").exists()
    assert not list(site.rglob("*.py"))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_from_disk(site, scheme, width):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    faults = []
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith("file:") else faults.append(request.url))
        for file in sorted(site.glob("*.html")):
            if file.name == "404.html":  # for servers: its paths begin at their root
                continue
            page.goto(file.as_uri())
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            broken = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
            shown = page.evaluate("document.body.getAttribute('data-md-color-scheme')")
            faults += [f"{file.name}: {fault}" for fault in (*broken, *(["wider than its window"] if wide > 0 else []))]
            assert shown == {"light": "default", "dark": "slate"}[scheme]
        browser.close()
    assert not faults


@pytest.mark.parametrize(
    ("path", "line", "repository", "expected"),
    [
        ("docs/a.md", "[x](b.md#y)", None, "[x](b.md#y)"),
        ("docs/a.md", "[x](../config/README.md)", None, "[x](configuration.md)"),
        ("README.md", "![x](docs/images/p.png)", None, "![x](images/p.png)"),
        ("config/README.md", "[x](../docs/b.md)", None, "[x](b.md)"),
        ("docs/sub/c.md", "[x](../b.md)", None, "[x](../b.md)"),
        ("docs/a.md", "[`x`](../ppl/training/loop.py)", None, "`x`"),
        (
            "docs/a.md",
            "[x](../ppl/training/loop.py)",
            "https://example.org/ppl",
            "[x](https://example.org/ppl/blob/main/ppl/training/loop.py)",
        ),
        ("docs/a.md", "[x](https://example.org) [y](#z)", None, "[x](https://example.org) [y](#z)"),
    ],
)
def test_links_are_those_of_the_site(path, line, repository, expected):
    assert (
        hooks.relink(line, path, {"a.md", "b.md", "sub/c.md", "configuration.md", "images/p.png"}, repository)
        == expected
    )


def test_what_belongs_to_an_item_is_indented_by_four():
    text = "1. a\n\n   ```\n   b\n     c\n   ```\n\n   d\n- e\n  f\n  - g\n    h\n\ni"
    assert hooks.indent_by_four(text) == (
        "1. a\n\n    ```\n    b\n      c\n    ```\n\n    d\n- e\n    f\n    - g\n        h\n\ni"
    )


@given(st.text("ab -1.\n`", max_size=80))
def test_indentation_changes_only_blanks(text):
    changed = hooks.indent_by_four(text)
    assert [line.strip() for line in changed.split("\n")] == [line.strip() for line in text.split("\n")]

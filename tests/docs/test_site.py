"""The site builds without a warning (links and anchors are valid) and opens from disk: light, dark, and on a phone."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("hooks", REPOSITORY / "docs" / "site" / "hooks.py")
hooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(hooks)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_in_the_site(site: Path) -> None:
    names = {"README.md", *(f"{page.stem}.md" for page in (REPOSITORY / "docs").glob("*.md"))}
    pages = {path.name for path in site.glob("*.html")}
    assert {f"{Path(name).stem}.html" for name in names | set(hooks.OUTSIDE.values())} - {"README.html"} <= pages
    assert not list(site.rglob("*.py"))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_from_disk_without_requests_errors_or_horizontal_scrolling(site, scheme, width) -> None:
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
            if file.name == "404.html":  # for servers: its paths are absolute
                continue
            page.goto(file.as_uri())
            excess = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            broken = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
            faults += [f"{file.name}: {fault}" for fault in (*broken, *["horizontal scrolling"] * (excess > 0))]
            scheme_of_page = page.evaluate("document.body.getAttribute('data-md-color-scheme')")
            assert scheme_of_page == {"light": "default", "dark": "slate"}[scheme]
        browser.close()
    assert not faults


@pytest.mark.parametrize(
    ("path", "text", "repository", "expected"),
    [
        ("docs/a.md", "[x](b.md#y) [z](#z) [w](https://e.org)", None, "[x](b.md#y) [z](#z) [w](https://e.org)"),
        ("docs/a.md", "[x](../config/README.md)", None, "[x](configuration.md)"),
        ("README.md", "![x](docs/images/p.png)", None, "![x](images/p.png)"),
        ("README.md", "```\n[x](docs/b.md)\n```", None, "```\n[x](docs/b.md)\n```"),
        ("config/README.md", "[x](../docs/b.md)", None, "[x](b.md)"),
        ("docs/sub/c.md", "[x](../b.md)", None, "[x](../b.md)"),
        ("docs/a.md", "[`x`](../Makefile)", None, "`x`"),
        ("docs/a.md", "[x](../Makefile)", "https://e.org/ppl", "[x](https://e.org/ppl/blob/main/Makefile)"),
    ],
)  # fmt: skip
def test_links_are_those_of_the_site_and_one_to_a_missing_file_is_a_warning(path, text, repository, expected, caplog):
    site = {"a.md", "b.md", "sub/c.md", "configuration.md", "images/p.png"}
    assert hooks.relink(text, path, site, repository) == expected
    assert not caplog.records
    hooks.relink("[x](../nowhere.py)", "docs/a.md", site, None)
    assert "nowhere.py, which does not exist" in caplog.text

"""What run.py says of commands that fail, and what it takes for a command."""

from pathlib import Path

import pages
import pytest
import run


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page of a repository in `tmp_path`, without text."""
    for module in (pages, run):
        monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    (tmp_path / "copy").mkdir()
    return tmp_path / "page.md"


@pytest.mark.parametrize("failing", ["ls nowhere", "false | cat", "python -c 'raise SystemExit(3)'"])
def test_a_command_that_fails_is_named_with_what_it_said(page, tmp_path, capsys, failing):
    page.write_text(
        f"# Title\n\n1. First\n\n   ```\n   touch before  # makes a file\n   {failing}\n   touch after\n   ```\n"
    )
    assert not run.run(page, tmp_path / "copy")
    assert f"page.md:5 failed: {failing}" in capsys.readouterr().out
    assert (tmp_path / "copy" / "before").exists()
    assert not (tmp_path / "copy" / "after").exists()


def test_blocks_run_in_order_and_in_one_shell(page, tmp_path):
    page.write_text(
        "```sh\nexport WHERE=here\nmkdir -p \\\n  $WHERE\ncd here\n```\n\n`mine.yaml`:\n\n```yaml\na: 1\n```\n\n"
        "```python\nfrom pathlib import Path\nPath('read').write_text(Path('mine.yaml').read_text())\n```\n"
    )
    assert run.run(page, tmp_path / "copy")
    assert (tmp_path / "copy" / "here" / "read").read_text() == "a: 1\n"


def test_a_block_of_python_that_raises_fails(page, tmp_path, capsys):
    page.write_text("```python\n1 / 0\n```\n")
    assert not run.run(page, tmp_path / "copy")
    assert "ZeroDivisionError" in capsys.readouterr().out


def test_trees_and_text_are_no_commands(page):
    page.write_text("```\nphotos/\n  a.jpg  # a photo\n```\n\n```\nFROM python:3.11\n```\n\n```text\nls\n```\n")
    assert not [command for block in pages.blocks(page) for command in pages.commands(block)]


def test_a_block_without_an_end_is_an_error(page):
    page.write_text("```\nls\n")
    with pytest.raises(ValueError, match=r"page.md:1: this block does not end"):
        list(pages.blocks(page))

"""The runner of the documentation runs a page in one shell and reports failures."""

from pathlib import Path

import pages
import pytest
import run


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pages, "REPOSITORY", tmp_path)
    return tmp_path / "page.md"


@pytest.mark.parametrize("failing", ["ls nowhere", "false | cat", "python -c 'raise SystemExit(3)'"])
def test_a_failing_command_ends_the_page_and_is_named(page: Path, tmp_path: Path, capsys, failing: str) -> None:
    page.write_text(f"1. First\n\n    ```\n    touch before  # a comment\n    {failing}\n    touch after\n    ```\n")
    assert not run.run(page, tmp_path)
    assert f"failed: + page.md:3 {failing}\n" in capsys.readouterr().out
    assert (tmp_path / "before").exists()
    assert not (tmp_path / "after").exists()


def test_shell_yaml_and_python_blocks_run_in_order_in_one_shell(page: Path, tmp_path: Path) -> None:
    page.write_text(
        "```\nexport WHERE=here\nmkdir -p \\\n  $WHERE\ncd here\n```\n\n`mine.yaml`:\n\n```yaml\na: 1\n```\n\n"
        "```python\nfrom pathlib import Path\nPath('read').write_text(Path('mine.yaml').read_text())\n```\n"
        "\n```text\nno command\n```\n"
    )
    assert run.run(page, tmp_path)
    assert (tmp_path / "here" / "read").read_text().strip() == "a: 1"
    page.write_text(
        "```python\n# module.py\nVALUE = 2\n```\n\n```python\nimport module\n\nassert module.VALUE == 2\n```\n"
    )
    assert run.run(page, tmp_path)
    page.write_text("```python\n1 / 0\n```\n")
    assert not run.run(page, tmp_path)


def test_a_block_without_end_is_an_error(page: Path) -> None:
    page.write_text("```\nls\n")
    with pytest.raises(ValueError, match="does not end"):
        list(pages.blocks(page))

"""Run Snakemake with the workflow of this package; results go to the current folder.

python -m ppl.run --cores 2 results/demo_test_preds
"""

import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import ppl
from ppl.jobs.errors import UserError

FILES = Path(__file__).parent
"""Folder with workflow/, config/, envs/ and docs/: links to those of a clone, folders of an installed package."""
SNAKEFILE = FILES / "workflow" / "Snakefile"
DEFAULT_PROFILE = FILES / "workflow" / "profiles" / "default"
CONFIGURATION = {"--configfile", "--configfiles"}
FILE_OPTIONS = {*CONFIGURATION, "--profile", "--workflow-profile"}
"""Options of Snakemake for which this package has files, too, such as config/small.yaml."""
USAGE = """\
Run Snakemake with the workflow of ppl {version}; results go to the current folder.

  python -m ppl.run TARGET ... [option of Snakemake ...]

`ppl` is the same command. TARGET is a result to compute; after an interruption the same command resumes. Options are
those of Snakemake (--help lists them); end the values of --configfile and --profile with --.

  python -m ppl.run --cores 2 results/demo_test_preds results/demo/report.html
  python -m ppl.run -n results/demo_test_preds            # list the jobs that would run
  python -m ppl.run --cores 2 --configfile mine.yaml -- results/mine_test_preds results/mine/report.html
  python -m ppl.run --cores 2 --configfile config/small.yaml mine.yaml -- results/mine_test_preds
  python -m ppl.run --profile workflow/profiles/slurm -- results/demo_test_preds

`python -m ppl.data.new --help` describes how to write mine.yaml for your photos.

Messages and examples name files in config/, docs/ and workflow/, which are in
  {files}
--configfile and --profile also find them there."""


def main() -> None:
    """Replace this process by Snakemake, so that signals, exit status and process id are those of Snakemake."""
    arguments = sys.argv[1:]
    if not arguments:
        print(USAGE.format(version=ppl.__version__, files=SNAKEFILE.resolve().parents[1]))
        return
    try:
        if importlib.util.find_spec("snakemake") is None:
            raise UserError(sys.executable, "cannot import snakemake", "use the Python of the environment of ppl")
        command = command_line(arguments)
    except UserError as error:
        sys.exit(f"error: {error}")
    os.execve(sys.executable, command, {**os.environ, **caches()})


def caches() -> dict[str, str]:
    """Return the variable that moves caches of Snakemake and of its jobs into .snakemake/ if the home has no room.

    Snakemake does not start without a folder for its cache, which containers and service accounts may lack.
    """
    try:
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "snakemake")
        usual.mkdir(parents=True, exist_ok=True)
        if os.access(usual, os.W_OK | os.X_OK):
            return {}
    except (OSError, RuntimeError):  # not writable, or no home at all
        pass
    return {"XDG_CACHE_HOME": str(Path(".snakemake", "cache").absolute())}


def command_line(arguments: Sequence[str]) -> list[str]:
    """Return the command line of Snakemake; arguments that name a Snakefile or a workflow profile replace ours.

    The workflow profile is named because Snakemake would prefer a folder `profiles/default` of another workflow.
    """
    # Resolve links, since rules name files above the Snakefile's folder, such as envs/.
    ours = ["--snakefile", str(SNAKEFILE.resolve()), "--workflow-profile", str(DEFAULT_PROFILE.resolve())]
    return [sys.executable, *python_options(), "-m", "snakemake", *ours, *with_files(arguments)]


def python_options() -> list[str]:
    """Return -P, without which Python imports a user's random.py; no option in a clone, from which ppl is imported."""
    return [] if FILES.resolve().parents[1] == Path.cwd() else ["-P"]


def with_files(arguments: Sequence[str]) -> Iterator[str]:
    """Yield arguments; values of FILE_OPTIONS that only this package has become absolute paths.

    An option takes all values up to the next option. UserError for a configuration file that does not exist, which
    would be a traceback of Snakemake.
    """
    option = ""
    for index, argument in enumerate(arguments):
        if argument == "--":
            yield from arguments[index:]
            return
        if argument.startswith("-"):
            option, separator, value = argument.partition("=")
            yield f"{option}={file_of(option, value)}" if separator and option in FILE_OPTIONS else argument
        else:
            yield file_of(option, argument) if option in FILE_OPTIONS else argument


def file_of(option: str, name: str) -> str:
    """Return the path of a file or folder of this package if the current folder lacks it; otherwise the name."""
    path, ours = Path(name), FILES / name
    if name and not path.exists() and ours.exists():
        return str(ours.resolve())
    if option in CONFIGURATION and not path.exists():
        remedy = "name an existing file, and write -- between configuration files and targets"
        raise UserError(f"{option} {name}", "no such file", remedy)
    if option in CONFIGURATION and path.is_dir():
        raise UserError(f"{option} {name}", "is a folder", "name a YAML file")
    return name


if __name__ == "__main__":
    main()

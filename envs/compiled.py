"""Import what jobs import, once, so that Python stores it compiled: `make venv` runs this after an installation.

    python envs/compiled.py              # all modules of the package, and what they import later
    python envs/compiled.py MODULE ...   # some

Of the modules installed a fraction is ever imported, so pip compiles none (Makefile). Where Python is told to store
nothing (PYTHONDONTWRITEBYTECODE, as in many containers), each job would compile torch and all else again.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterator

LATER = ("snakemake.cli", "torch.utils.tensorboard")
"""What functions of the package import, or what is started as a program."""


def main(names: list[str]) -> None:
    sys.dont_write_bytecode = False  # what is stored is used, whatever the environment says
    for name in names or (*LATER, *modules()):
        try:
            importlib.import_module(name)
        except ImportError as error:  # of an extra that is not installed; the job that needs it tells the user
            print(f"not compiled: {name} ({error})", file=sys.stderr)


def modules() -> Iterator[str]:
    """Yield the modules of the package that can be imported without being run."""
    import ppl

    for module in pkgutil.walk_packages(ppl.__path__, "ppl."):
        if not module.name.endswith("__main__"):
            yield module.name


if __name__ == "__main__":
    main(sys.argv[1:])

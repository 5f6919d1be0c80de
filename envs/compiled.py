"""Import what jobs import, once, so that Python stores it compiled: `make venv` runs this after an installation.

Of the modules installed a fraction is ever imported, so pip compiles none (Makefile). Where Python is told to store
nothing (PYTHONDONTWRITEBYTECODE, as in many containers), each job would compile torch and all else again.
"""

import importlib
import pkgutil
import sys

sys.dont_write_bytecode = False  # whatever the environment says; what is stored is used nevertheless

import ppl

LATER = ("snakemake.cli", "torch.utils.tensorboard")
"""What is imported in functions of the package, or started as a program."""


def main() -> None:
    names = [module.name for module in pkgutil.walk_packages(ppl.__path__, "ppl.") if not module.ispkg]
    for name in (*LATER, *names):
        if not name.endswith("__main__"):
            try:
                importlib.import_module(name)
            except ImportError as error:  # of an extra that is not installed; jobs that need it tell the user
                print(f"not compiled: {name} ({error})", file=sys.stderr)


if __name__ == "__main__":
    main()

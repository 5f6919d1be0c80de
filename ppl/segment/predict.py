"""Former entry point of `python -m ppl.predict`, kept for compatibility."""

import sys

from ppl.jobs.command import command
from ppl.predict.__main__ import Settings, main

if __name__ == "__main__":
    print("ppl.segment.predict is now ppl.predict", file=sys.stderr)
    command(main, Settings)

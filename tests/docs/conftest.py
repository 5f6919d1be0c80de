"""The helpers beside the tests are imported by name: pytest's importlib mode does not put their folder on the path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

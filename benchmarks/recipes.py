"""Compare patch learning, or kinds of pseudo labels, at equal budgets on the photos of benchmarks/animals.py.

    python benchmarks/animals.py --data FOLDER     # once: writes the photos
    python benchmarks/recipes.py                   # patch learning against its baseline: recipes.yaml, on train and val
    python benchmarks/recipes.py labels            # the ladder of labels: ladder.yaml

Both train what is missing, measure, and print a table.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import ladder
import pandas as pd
import tyro
import yaml

from ppl.jobs.errors import UserError
from ppl.measure import sweep
from ppl.workflow.config import repetition

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Settings:
    """Recipes of patch learning."""

    recipes: tuple[str, ...] = ("recipe-baseline", "recipe-explicit", "recipe-implicit", "recipe-paper")
    """Experiments of recipes.yaml."""
    cores: int = 2
    threshold: int = 30
    """Fixed threshold, in percent of the maximum of a map."""
    out: Path = Path("results/recipes.csv")


def main(settings: Settings) -> None:
    file = Path(__file__).with_suffix(".yaml")
    experiments = yaml.safe_load(file.read_text())["experiments"]
    runs = [
        (name, variant, seed)
        for name in settings.recipes
        for variant in [*experiments[name]["compare"], experiments[name]["main"]]
        for seed in experiments[name]["random_seeds"]
    ]
    stores = {(run, split): _store(run, experiments[run[0]]["random_seeds"], split) for run in runs for split in SPLITS}
    command = ["snakemake", "--cores", str(settings.cores), "--configfile", "config/small.yaml", str(file), "--"]
    done = subprocess.run([*command, *map(str, stores.values())], check=False).returncode
    if done:
        sys.exit(done)
    rows = [
        {"recipe": name, "variant": variant, "seed": seed, "split": split, **_measured(path, name, split, settings)}
        for ((name, variant, seed), split), path in stores.items()
    ]
    figures = pd.DataFrame(rows)
    figures.to_csv(settings.out, index=False, float_format="%.2f")
    grouped = figures.groupby(["recipe", "variant", "split"], sort=False)[["fixed", "best", "at"]]
    print(grouped.agg(["mean", "std"]).round(2).to_string())


def _store(run: tuple[str, str, int], seeds: list[int], split: str) -> Path:
    name, variant, seed = run
    return Path("results") / repetition(name, seeds, seed) / variant / "cams" / f"{split}-1of1.h5"


def _measured(path: Path, recipe: str, split: str, settings: Settings) -> dict[str, float]:
    """Return the mIoU of the seeds at the fixed and at the best threshold, and the best threshold."""
    out = path.with_name(f"{split}.csv")
    data = Path("results") / recipe / "data"  # shared by its random seeds
    sweep.main(sweep.Settings(data=data, split=split, cams=(path,), out=out, workers=settings.cores))
    table = pd.read_csv(out)
    best = table.miou.idxmax()
    return {"fixed": table.miou[settings.threshold], "best": table.miou[best], "at": table.threshold[best]}


Patches = Annotated[Settings, tyro.conf.subcommand("patches")]
Labels = Annotated[ladder.Settings, tyro.conf.subcommand("labels")]


def run(arguments: Sequence[str]) -> None:
    """Run the recipes that the command line names, by default those of patch learning."""
    settings = tyro.cli(Patches | Labels, default=Settings(), args=arguments, description=__doc__)
    try:
        ladder.main(settings) if isinstance(settings, ladder.Settings) else main(settings)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    run(sys.argv[1:])

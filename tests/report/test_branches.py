"""The figure of branches: what each adds to a map, and what a rim and prototypes change."""

import numpy as np
import pytest
import torch

from ppl.cam.settings import Cam, Maps, Prototypes
from ppl.classify.network import PatchClassifier
from ppl.classify.variants import Grid
from ppl.networks import backbones
from ppl.report.branches import map_tiles

CAM = Cam(maps=Maps(scales=(1,)))
PHOTO = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


def _network(*grids: Grid, **options: bool) -> PatchClassifier:
    torch.manual_seed(0)
    network = PatchClassifier(backbones.build("resnet18"), classes=2, grids=grids, **options).eval()
    with torch.no_grad():
        network.classifier.weight.abs_()  # so that no map is empty
    return network


@pytest.mark.parametrize(
    ("grids", "options", "names"),
    [
        ((), {}, ["global"]),
        ((Grid(4, 2),), {}, ["global", "s4k2", "s4k2, rim 2"]),
        ((Grid(3, 2), Grid(4, 2)), {}, ["global", "s3k2", "s3k2, rim 2", "s4k2", "s4k2, rim 2"]),
        ((Grid(4, 2),), {"global_branch": False}, ["s4k2", "s4k2, rim 2"]),
    ],
)
def test_every_branch_is_shown_patched_ones_twice(grids, options, names):
    tiles = map_tiles(_network(*grids, **options), PHOTO, 2, CAM)
    assert list(tiles) == [*names, "all together", "prototypes, 2 rounds"]
    assert {tile.shape for tile in tiles.values()} == {PHOTO.shape}


def test_the_rim_changes_the_patched_branch_and_prototypes_the_fused_map():
    tiles = map_tiles(_network(Grid(4, 2)), PHOTO, 1, CAM)
    assert not np.array_equal(tiles["s4k2"], tiles["s4k2, rim 2"])
    assert not np.array_equal(tiles["all together"], tiles["prototypes, 2 rounds"])


def test_the_experiments_own_rim_and_rounds_are_shown():
    cam = Cam(maps=Maps(scales=(1,), rim=1), prototypes=Prototypes(rounds=3))
    assert {"s4k2, rim 1", "prototypes, 3 rounds"} <= set(map_tiles(_network(Grid(4, 2)), PHOTO, 1, cam))

"""Figure 3: one channel of each stage, at the size that the stage has."""

import numpy as np
import pytest
import torch

from ppl.classify.network import PatchClassifier
from ppl.networks import backbones
from ppl.report.sheet import draw_sheet
from ppl.report.stages import stage_tiles


@pytest.fixture(scope="module")
def network() -> PatchClassifier:
    torch.manual_seed(0)
    return PatchClassifier(backbones.build("resnet18"), classes=2).eval()


def test_every_stage_is_shown_at_its_own_size(network):
    photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    tiles = stage_tiles(network, photo, [0, 1, 2, 3, 4])
    assert list(tiles) == ["stem, channel 0", *(f"stage {i}, channel {i}" for i in range(1, 5))]
    assert [tile.shape[:2] for tile in tiles.values()] == [(16, 24), (16, 24), (8, 12), (4, 6), (4, 6)]
    assert all(tile.dtype == np.uint8 for tile in tiles.values())


def test_a_channel_without_contrast_is_drawn(network):
    with torch.no_grad():
        for parameter in network.backbone.parameters():
            parameter.zero_()
    tiles = stage_tiles(network, np.zeros((32, 32, 3), np.uint8), [0] * 5)
    assert all(np.isfinite(tile).all() for tile in tiles.values())


def test_rows_of_a_sheet_may_differ_in_length():
    tile = np.zeros((4, 5, 3), np.uint8)
    figure = draw_sheet([{"photo": tile, "truth": tile}, {"photo": tile}])
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 0]

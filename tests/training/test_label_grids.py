"""Labels of the cells of a grid: the pixel at the centre, and the vote of all pixels."""

import pytest
import torch
from torch.nn import functional as F

from ppl.data.masks import IGNORE
from ppl.training.label_grids import nearest, vote


def cell(**pixels: int) -> torch.Tensor:
    """Return a cell of 8x8 pixels in random order: `of_3=40` are 40 pixels of label 3."""
    labels = torch.cat([torch.full((count,), int(name.removeprefix("of_"))) for name, count in pixels.items()])
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    return labels[order].view(1, 8, 8).to(torch.uint8)


def test_labels_are_taken_at_the_centres_that_upsampling_assumes() -> None:
    coordinates = torch.arange(40.0).view(1, 1, 1, 40).expand(1, 1, 24, 40)
    cells = nearest(coordinates[:, 0], (3, 5))
    assert cells.tolist() == [[[4, 12, 20, 28, 36]] * 3]
    back = F.interpolate(cells[None], (24, 40), mode="bilinear")[0, 0, 0]
    assert (back[4:36] - coordinates[0, 0, 0, 4:36]).abs().max() <= 0.5
    assert torch.equal(nearest(coordinates[:, 0], (24, 40)), coordinates[:, 0])


@pytest.mark.parametrize(("pixels", "label"), [
    ({"of_0": 64}, 0),
    ({"of_7": 64}, 7),
    ({"of_254": 64}, 254),
    ({"of_255": 64}, IGNORE),
    ({"of_3": 33, "of_0": 31}, 3),  # strict pass: 33 against 31
    ({"of_3": 33, "of_255": 31}, 3),
    ({"of_3": 30, "of_0": 20, "of_255": 14}, IGNORE),  # 30 against 34; lenient pass: background 20 against 44
    ({"of_0": 33, "of_255": 20, "of_3": 11}, 0),
    ({"of_0": 30, "of_255": 34}, IGNORE),
    ({"of_0": 32, "of_255": 32}, IGNORE),
    ({"of_3": 30, "of_5": 24, "of_0": 10}, 3),  # classes do not split the foreground
    ({"of_3": 24, "of_5": 22, "of_0": 9, "of_255": 9}, 3),
    ({"of_5": 27, "of_3": 27, "of_0": 10}, 3),  # the first of equal classes, on every device
    ({"of_3": 30, "of_255": 34}, IGNORE),  # more than half padding of a crop
], ids=str)  # fmt: skip
def test_a_cell_has_the_label_of_both_passes(pixels: dict[str, int], label: int) -> None:
    assert vote(cell(**pixels), 8).tolist() == [[[label]]]


def test_a_vote_does_not_depend_on_where_in_the_cell_its_pixels_lie() -> None:
    labels = cell(of_0=20, of_2=40, of_255=4)
    for turned in (labels.flip(1), labels.flip(2), labels.transpose(1, 2)):
        assert torch.equal(vote(turned, 8), vote(labels, 8))


def test_cells_of_equal_labels_keep_them_at_any_place_of_a_batch() -> None:
    cells = torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = cells.repeat_interleave(8, 1).repeat_interleave(8, 2)
    assert torch.equal(vote(labels, 8), cells)
    assert torch.equal(vote(labels, 1), labels)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (11, 17), (1, 1), (8, 9), (3, 40)])
def test_a_cell_at_the_border_counts_the_pixels_inside(height: int, width: int) -> None:
    labels = torch.randint(0, 4, (2, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    labels[labels == 3] = IGNORE
    grid = vote(labels, 8)
    assert grid.dtype == torch.uint8
    assert grid.shape == (2, -(-height // 8), -(-width // 8))
    for y, x in torch.cartesian_prod(torch.arange(grid.shape[1]), torch.arange(grid.shape[2])).tolist():
        alone = vote(labels[:, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].contiguous(), 8)
        assert torch.equal(grid[:, y, x], alone[:, 0, 0])


def test_a_mirrored_map_has_mirrored_cells() -> None:
    labels = torch.randint(0, 3, (1, 32, 48), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert torch.equal(vote(labels.flip(2), 8), vote(labels, 8).flip(2))
    assert not torch.equal(labels.flip(2)[:, ::8, ::8], labels[:, ::8, ::8].flip(2))  # corners lie apart

import pytest
import torch

from ppl.refine.lines import lines_within, maxima_along


@pytest.mark.parametrize("radius", [1, 2, 5, 10])
def test_lines_and_their_opposites_cover_the_open_disc_once_and_hold_both_ends(radius: int) -> None:
    ends = [line.end for line in lines_within(radius)]
    both = [*ends, *((-dy, -dx) for dy, dx in ends)]
    side = range(-radius, radius + 1)
    assert sorted(both) == [(y, x) for y in side for x in side if 0 < y * y + x * x < radius**2]
    assert ends == sorted(ends)
    for (dy, dx), line in lines_within(radius):  # from end to end without repetition, symmetric under reversal
        assert {(0, 0), (dy, dx)} <= set(line)
        assert sorted(line) == sorted({(dy - y, dx - x) for y, x in line})


def test_lines_are_mirror_images_of_each_other() -> None:
    lines = {line.end: set(line.pixels) for line in lines_within(5)}
    for (dy, dx), line in lines.items():
        if dy > 0:
            assert {(y, -x) for y, x in line} == lines[dy, -dx]
        if dy > 0 and dx > 0:
            assert {(x, y) for y, x in line} == lines[dx, dy]


def test_known_lines() -> None:
    lines = {line.end: line.pixels for line in lines_within(4)}
    assert lines[0, 3] == ((0, 0), (0, 1), (0, 2), (0, 3))
    assert set(lines[2, 2]) == {(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)}  # sides lie 0.71 away
    assert set(lines[2, -1]) == {(0, 0), (0, -1), (1, 0), (1, -1), (2, 0), (2, -1)}


def test_a_radius_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="radius"):
        lines_within(0)


@pytest.mark.parametrize("radius", [1, 2, 5, 10])
def test_maxima_along_are_those_of_every_line(radius: int) -> None:
    values = torch.rand(2 * radius, 2 * radius, 3, generator=torch.Generator().manual_seed(radius))
    maxima = dict(maxima_along(radius, lambda offset: values[offset]))
    assert set(maxima) == set(lines_within(radius))
    for line, highest in maxima.items():
        assert torch.equal(highest, torch.stack([values[offset] for offset in line.pixels]).amax(0))

import pytest
import torch

from ppl.refine.lines import maxima_along, search_paths


@pytest.mark.parametrize("radius", [1, 2, 5, 10])
def test_paths_and_their_opposites_cover_the_open_disc_once(radius: int) -> None:
    ends = [path.end for path in search_paths(radius)]
    both = [*ends, *((-dy, -dx) for dy, dx in ends)]
    disc = {
        (y, x) for y in range(-radius, radius + 1) for x in range(-radius, radius + 1) if 0 < y * y + x * x < radius**2
    }
    assert len(both) == len(disc)
    assert set(both) == disc
    assert ends == sorted(ends)


@pytest.mark.parametrize("radius", [2, 5, 10])
def test_lines_hold_both_ends_and_are_symmetric_under_reversal(radius: int) -> None:
    for (dy, dx), line in search_paths(radius):
        assert {(0, 0), (dy, dx)} <= set(line)
        assert len(set(line)) == len(line)
        assert {(dy - y, dx - x) for y, x in line} == set(line)


def test_lines_are_mirror_images_of_each_other() -> None:
    lines = {path.end: set(path.line) for path in search_paths(5)}
    for (dy, dx), line in lines.items():
        if dy > 0:
            assert {(y, -x) for y, x in line} == lines[dy, -dx]
        if dy > 0 and dx > 0:
            assert {(x, y) for y, x in line} == lines[dx, dy]


def test_known_lines() -> None:
    lines = {path.end: path.line for path in search_paths(4)}
    assert lines[0, 3] == ((0, 0), (0, 1), (0, 2), (0, 3))
    assert set(lines[2, 2]) == {(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)}  # sides lie 0.71 away
    assert set(lines[2, -1]) == {(0, 0), (0, -1), (1, 0), (1, -1), (2, 0), (2, -1)}


def test_a_radius_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="radius"):
        search_paths(0)


@pytest.mark.parametrize("radius", [1, 2, 5, 10])
def test_maxima_along_are_those_of_every_line(radius: int) -> None:
    values = torch.rand(2 * radius, 2 * radius, 3, generator=torch.Generator().manual_seed(radius))
    maxima = dict(maxima_along(radius, lambda offset: values[offset]))
    assert set(maxima) == set(search_paths(radius))
    for path, highest in maxima.items():
        assert torch.equal(highest, torch.stack([values[offset] for offset in path.line]).amax(0))

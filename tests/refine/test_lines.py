import pytest
import torch

from ppl.refine.lines import by_runs, line_maxima, lines_within, run_maxima, sources, values_at_ends


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


@pytest.mark.parametrize("radius", [1, 2, 3, 5, 10])
def test_line_maxima_are_those_of_every_line_in_any_blocks(radius: int) -> None:
    h, width, margin = radius + 2, 2 * radius + 1, radius - 1
    values = torch.rand(2, h, width, generator=torch.Generator().manual_seed(radius))
    flat, origins = values.flatten(1), sources(h * width, radius, width)
    runs = run_maxima(flat, radius, width)
    middle = origins[len(origins) // 2]
    blocks = [range(origins.start, middle), range(middle, origins.stop)]
    maxima = torch.cat([line_maxima(runs, radius, width, block) for block in blocks], 2)
    ends = torch.cat([values_at_ends(flat, radius, width, block) for block in blocks], 2)
    assert sorted(by_runs(radius)) == sorted(lines_within(radius))
    assert maxima.shape == ends.shape == (2, len(by_runs(radius)), len(origins))
    for i, ((dy, dx), line) in enumerate(by_runs(radius)):
        for y in range(h - margin):
            for x in range(margin, width - margin):
                source = origins.index(y * width + x)
                expected = torch.stack([values[:, y + py, x + px] for py, px in line]).amax(0)
                assert torch.equal(maxima[:, i, source], expected)
                assert torch.equal(ends[:, i, source], values[:, y + dy, x + dx])


def test_an_image_smaller_than_the_lines_has_no_sources() -> None:
    assert not sources(3 * 7, 5, 7)

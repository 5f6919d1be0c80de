"""The threshold of a photo that separates its objects from the rest: that of the highest contrast of features."""

import numpy as np
import pytest

from ppl.cam.separation import COMPONENTS, MIN_CELLS, THRESHOLDS, choose, contrast, highest, whiten

CELLS, CHANNELS = 120, 20


def photo(seed: int = 0, cells: int = CELLS, channels: int = CHANNELS) -> tuple[np.ndarray, np.ndarray]:
    """Features and scores of a photo; the features of cells with high scores are shifted."""
    rng = np.random.default_rng(seed)
    score = rng.random(cells).astype(np.float32)
    features = rng.normal(size=(cells, channels)) * rng.uniform(0.1, 3, channels)
    features[score > 0.4] += rng.normal(size=channels)
    return features.astype(np.float32), score


@pytest.mark.parametrize(("cells", "channels"), [(CELLS, CHANNELS), (30, 50), (60, 5)])
def test_whitened_features_are_the_left_singular_vectors(cells: int, channels: int) -> None:
    features, _ = photo(cells=cells, channels=channels)
    centred = features - features.mean(axis=0, dtype=np.float64)
    left = np.linalg.svd(centred, full_matrices=False)[0][:, :COMPONENTS] * np.sqrt(cells)
    components = whiten(features)
    assert components.shape == left.shape
    np.testing.assert_allclose(components @ components.T, left @ left.T, atol=1e-6)  # equal up to their signs
    np.testing.assert_allclose(components.T @ components / cells, np.eye(left.shape[1]), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_contrast_equals_its_definition_at_every_threshold(seed: int) -> None:
    features, score = photo(seed)
    components, expected = whiten(features), []
    for threshold in THRESHOLDS.astype(np.float32):
        above = score > threshold
        share, difference = above.mean(), components[above].mean(axis=0) - components[~above].mean(axis=0)
        expected.append(share * (1 - share) * difference @ difference / components.shape[1])
    np.testing.assert_allclose(contrast(features, score), expected, atol=1e-9)


def test_the_contrast_does_not_depend_on_scale_shift_rotation_and_order() -> None:
    features, score = photo()
    rng = np.random.default_rng(1)
    rotation, _ = np.linalg.qr(rng.normal(size=(CHANNELS, CHANNELS)))
    shuffled = rng.permutation(CELLS)
    expected = contrast(features, score)
    for other in (7 * features - 3, features @ rotation):
        np.testing.assert_allclose(contrast(other, score), expected, atol=1e-5)
    np.testing.assert_allclose(contrast(features[shuffled], score[shuffled]), expected, atol=1e-9)


def test_seeds_or_rests_of_a_few_cells_and_equal_features_have_no_contrast() -> None:
    features, score = photo()
    order = np.argsort(-score)
    few = np.full(CELLS, 0.05, np.float32)
    few[order[: MIN_CELLS - 1]] = 0.9
    assert not contrast(features, few).any()
    assert not contrast(features, 1 - few).any()
    few[order[:MIN_CELLS]] = 0.9
    assert contrast(features, few).all()
    assert not contrast(np.ones((CELLS, 3), np.float32), score).any()


@pytest.mark.parametrize("edge", [0.25, 0.4, 0.55])
def test_the_contrast_is_highest_where_the_seed_is_the_object(edge: float) -> None:
    """Of an object of one colour on a ground of another, whose scores fall from its middle outwards."""
    score = np.linspace(0, 1, 400, dtype=np.float32)
    features = np.random.default_rng(0).normal(0, 0.1, (400, 3))
    features[score > edge] += (2, -1, 3)
    assert highest(contrast(features, score)) == pytest.approx(edge, abs=0.011)


def test_the_choice_is_the_higher_mean_to_two_decimals() -> None:
    assert choose([0.1, 0.2], [0.3, 0.4, 0.5]) == choose([0.3, 0.4, 0.5], [0.1, 0.2]) == 0.4
    assert choose([], [0.333]) == choose([0.333], []) == 0.33
    with pytest.raises(ValueError, match="empty"):
        choose([], [])


def test_without_contrast_a_photo_has_no_threshold() -> None:
    assert highest(np.zeros(3), np.array([0.1, 0.2, 0.3])) is None
    assert highest(np.array([0, 0.01, 0.01]), np.array([0.1, 0.2, 0.3])) == 0.2  # the lower one of two

import numpy as np
import pytest

from ppl.data.batches import photo_batches
from ppl.data.dataset import Dataset
from ppl.data.photos import read_photo
from ppl.jobs.errors import UserError


@pytest.mark.parametrize("workers", [0, 1])
def test_every_photo_comes_once_unchanged_among_its_equals_in_batches_of_the_size(scenes, workers: int) -> None:
    dataset = Dataset.open(scenes.root)
    for size, expected in ((2, 3), (1, 4)):  # of the four photos two have the same size
        count, batches = photo_batches(dataset, scenes.images, batch_size=size, workers=workers)
        batches = list(batches)
        assert len(batches) == count == expected
        assert sorted(image for batch in batches for image in batch.images) == sorted(scenes.images)
        assert (["scene.0", "scene.2"] in [batch.images for batch in batches]) == (size == 2)
        for batch in batches:
            for image, photo in zip(batch.images, batch.photos, strict=True):
                np.testing.assert_array_equal(photo, read_photo(dataset.photo(image)))


def test_a_missing_photo_is_named_before_any_work(scenes) -> None:
    (scenes.root / "JPEGImages" / "scene.3.jpg").unlink()
    with pytest.raises(UserError, match=r"scene.3.jpg: not a readable photo"):
        photo_batches(Dataset.open(scenes.root), scenes.images, batch_size=2, workers=0)

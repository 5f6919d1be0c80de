#!/bin/sh
# The ladder of labels with all photos at 384 px on one GPU, one random seed and three rungs. Planned for nine minutes of
# an H100; not run yet.
#
#     sh benchmarks/gpu-ladder.sh DATA [options of `recipes.py labels`, such as --seeds 0 1 2 or --dry-run]
#
# DATA: VOC folder with classes.txt, labels.csv and the splits train, trainaug and val. Results: results/recipes-384. What
# exists is not computed again, so a second call continues the first.
set -eu
data=$1
shift
here=$(dirname "$0")
python "$here/animals.py" --data "$data" --side 384 --images 1000000 --reduced results/animals-384 --photos-only
exec python "$here/recipes.py" labels --data results/animals-384 --side 384 --device gpu --cores "$(nproc)" --seeds 0 \
    --rungs crf reliable agree --out results/recipes-384 "$@"

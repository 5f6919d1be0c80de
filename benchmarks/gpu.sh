#!/bin/sh
# Measure this commit on one GPU, in at most nine minutes, with what is installed: nothing is downloaded.
#
#     sh benchmarks/gpu.sh [--dry-run] [--toy] [OUT]
#
# Runs the tests that need a GPU, `rates.py` as it is and with compiled networks, and the GPU rows of `make bench`, each
# within its own time limit, and writes OUT.md and OUT.json (results/gpu): card, versions, commit, seconds and results of
# each part. A part that succeeded is not run again, so a second call continues the first; another commit or card needs
# another OUT. GPU_COMMIT names the commit where git is missing. --dry-run lists the parts. --toy tests this script on a CPU: one small row of each.
#
# PYTHON names the interpreter (python). Packages that it lacks may lie in build/gpu-packages; on a machine with network:
#     pip install --target build/gpu-packages --no-deps PACKAGE ...
set -eu
export PYTHON="${PYTHON:-python}"
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="$root:$root/build/gpu-packages${PYTHONPATH:+:$PYTHONPATH}"
# As in the workflow's jobs (workflow/rules/common.smk).
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=67108864 GOMP_SPINCOUNT=1000

dry='' toy='' out=''
for argument in "$@"; do
    case $argument in
        --dry-run) dry=yes ;;
        --toy) toy=yes ;;
        -*) echo "error: unknown option $argument; see the head of $0" >&2; exit 2 ;;
        *) out=$argument ;;
    esac
done
case $out in '') out=$root/results/gpu ;; /*) ;; *) out=$PWD/$out ;; esac
cd "$root"

# part NAME SECONDS COMMAND...: run a command within a time limit, its output in OUT/NAME.log.
part() {
    name=$1 limit=$2
    shift 2
    echo "$name, at most $limit s: $*"
    if [ -n "$dry" ]; then return; fi
    if grep -q ' 0$' "$out/$name.seconds" 2>/dev/null; then echo "  done by an earlier call"; return; fi
    began=$(date +%s) code=0
    timeout --kill-after=5 "$limit" "$@" > "$out/$name.log" 2>&1 || code=$?
    echo "$(($(date +%s) - began)) $code" > "$out/$name.seconds"
    echo "  $(sed 's/ / s, exit status /' "$out/$name.seconds")"
    "$PYTHON" benchmarks/gpu_report.py write "$out" # after every part, as the machine may be taken away
}

if [ -z "$dry" ]; then
    mkdir -p "$out"
    "$PYTHON" benchmarks/gpu_report.py check "$out"
fi
if [ -n "$toy" ]; then
    part tests 600 "$PYTHON" -m pytest -q -p no:cacheprovider -m gpu tests/training/test_loop.py
    part rates 600 "$PYTHON" benchmarks/rates.py --out "$out/rates.csv" --repeats 1 --batch small --only sweep
    part compiled-segment 600 "$PYTHON" benchmarks/rates.py --out "$out/compiled-segment.csv" --repeats 1 --batch small \
        --compile always --only sweep
    part bench 600 "$PYTHON" benchmarks/bench.py --out "$out/bench" --repeats 1 --only "from memory"
else
    part tests 80 "$PYTHON" -m pytest -q -p no:cacheprovider -m gpu $(grep -rl 'mark\.gpu' tests)
    part compiled-segment 130 "$PYTHON" benchmarks/rates.py --out "$out/compiled-segment.csv" --repeats 5 \
        --compile always --only DeepLab predict
    part rates 90 "$PYTHON" benchmarks/rates.py --out "$out/rates.csv" --repeats 5
    part compiled-others 120 "$PYTHON" benchmarks/rates.py --out "$out/compiled-others.csv" --repeats 5 \
        --compile always --only baseline IRNet explicit
    part bench 100 "$PYTHON" benchmarks/bench.py --out "$out/bench" --repeats 2 --workers "$(nproc)" \
        --only walk GPU export branch step pair
fi
if [ -z "$dry" ]; then echo "$out.md and $out.json"; fi

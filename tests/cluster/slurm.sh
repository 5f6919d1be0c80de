#!/usr/bin/env bash
# The workflow on a real SLURM: one node with two fake GPUs, for which Debian's slurm-wlm and munge are installed.
#
#     bash tests/cluster/slurm.sh        # as root; the environment of `make venv` with snakemake-executor-plugin-slurm
#
# Runs tests/tiny.yaml locally and through workflow/profiles/slurm in sharded jobs, pre-empts one training and kills
# another, and compares: both must be retried, and all results must equal those of the local run.
# Exit status 77: SLURM cannot be installed here.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
skip() { echo "skipped: $1" >&2; exit 77; }
[ "$(id -u)" = 0 ] || skip "needs root, to install and start SLURM"
missing=()
for program in slurmctld slurmd munged; do
  command -v "$program" >/dev/null || missing=(slurm-wlm munge)
done
if [ "${#missing[@]}" -gt 0 ]; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null; } ||
    skip "${missing[*]} cannot be installed"
fi

# The default path of the configuration, as job steps that Snakemake starts have no SLURM_CONF.
[ ! -e /etc/slurm/slurm.conf ] || skip "/etc/slurm/slurm.conf exists; this test is for a machine without SLURM"

work=$(mktemp -d)
stop() {
  rm -f /etc/slurm/{slurm,gres}.conf
  kill $(jobs -p) 2>/dev/null || true  # the daemons, and runs that have not ended
  [ -z "${munged:-}" ] || pkill -x munged || true
  wait
  if [ "$1" = 0 ]; then rm -rf "$work"; else echo "logs: $work" >&2; fi
}
trap 'status=$?; stop "$status"; exit "$status"' EXIT

# A cluster of this machine alone. Other devices stand in for GPUs: SLURM only counts and assigns them.
host=$(hostname -s)
mkdir -p /etc/slurm "$work"/{state,spool,log}
cat >/etc/slurm/slurm.conf <<CONF
ClusterName=test
SlurmctldHost=$host
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/log/slurmctld.log
SlurmdLogFile=$work/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=$host CPUs=$(nproc) RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
printf 'NodeName=%s Name=gpu File=%s\n' "$host" /dev/null "$host" /dev/zero >/etc/slurm/gres.conf
if ! pgrep -x munged >/dev/null; then
  mkdir -p /run/munge && chown munge: /run/munge
  runuser -u munge -- /usr/sbin/munged --foreground >"$work/log/munged.log" 2>&1 &
  munged=started
fi
sleep 1
slurmctld -D >"$work/log/ctld.out" 2>&1 &
slurmd -D -N "$host" >"$work/log/slurmd.out" 2>&1 &
for _ in $(seq 30); do
  sinfo --noheader --format %t 2>/dev/null | grep -q idle && break
  sleep 1
done
sinfo

for side in local cluster; do
  mkdir "$work/$side"
  cp -r "$repository"/{config,envs,ppl,tests,workflow} "$work/$side"
done
targets=(results/tiny_test_preds)
config=(--configfile tests/tiny.yaml)
(cd "$work/local" && exec snakemake --cores 2 "${config[@]}" -- "${targets[@]}") >"$work/log/local.out" 2>&1 &
local_run=$!
# The executor first asks after this many seconds, then at intervals that grow by ten seconds.
(cd "$work/cluster" && exec snakemake --profile workflow/profiles/slurm --slurm-no-account \
  --slurm-status-command squeue --slurm-init-seconds-before-status-checks 5 \
  --latency-wait 10 "${config[@]}" -- "${targets[@]}") \
  >"$work/log/snakemake.out" 2>&1 &
run=$!

# Wait until a step computes on the cluster and a file exists, if one is given; print the process id.
process_of() {
  for _ in $(seq 6000); do
    for process in $(pgrep -f "^python -m $1 --data results/tiny"); do
      [ "$(readlink "/proc/$process/cwd")" = "$work/cluster" ] || continue
      [ -z "${2:-}" ] || [ -e "$work/cluster/$2" ] || continue
      echo "$process"
      return
    done
    kill -0 "$run" 2>/dev/null || break
    sleep 0.1
  done
  tail -30 "$work/log/snakemake.out" >&2
  echo "error: $1 did not run" >&2
  exit 1
}

# Pre-empt the classifier once it has a state: SLURM sends SIGTERM to the job, which must save its state and end in time.
process=$(process_of ppl.classify.train results/tiny/implicit/s4k2/classifier.resume)
job=$(tr '\0' '\n' <"/proc/$process/environ" | sed -n 's/^SLURM_JOB_ID=//p')
scancel --signal=TERM "$job"
for second in $(seq 0 30); do
  kill -0 "$process" 2>/dev/null || break
  sleep 1
done
[ "$second" -lt 30 ] || { echo "error: a training outlives SIGTERM by 30 s" >&2; exit 1; }
# Kill the last network, as the failure of a node would.
process=$(process_of ppl.segment.train)
sleep 3
kill -9 "$process"
wait "$run" || { tail -40 "$work/log/snakemake.out" >&2; echo "error: the run on the cluster failed" >&2; exit 1; }
wait "$local_run" || { tail -40 "$work/log/local.out" >&2; echo "error: the local run failed" >&2; exit 1; }

submitted=$(grep -c "has been submitted with SLURM jobid" "$work/log/snakemake.out")
retried=$(grep -c "Trying to restart job" "$work/log/snakemake.out" || true)
[ "$retried" -ge 2 ] || { echo "error: the interrupted jobs were not retried" >&2; exit 1; }
grep -q "from step" "$work/cluster/results/tiny/logs/implicit/s4k2/classify.log" ||
  { echo "error: the pre-empted training did not resume from its state" >&2; exit 1; }
cd "$work"
compared=0
while read -r file; do
  cmp "local/$file" "cluster/$file"
  compared=$((compared + 1))
done < <(cd local && find results -name '*.png' -o -name '*.h5' -o -name 'labels.csv' | sort)
[ "$compared" -gt 60 ]
echo "the same: $compared files; $submitted jobs submitted, $retried retried; pre-empted training ended in $second s"

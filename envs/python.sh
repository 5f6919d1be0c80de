#!/bin/sh
# Print the first Python of a tested version that can make the environment: on PATH, then of those that uv offers.
# If none is complete, print the first of a tested version (the Makefile says what it lacks), or else python3.
complete() {
  "$1" -c '
import ensurepip, os, sys, sysconfig, venv
sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null
}
tested() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

first=
for name in python3 python3.13 python3.12 python3.11 "$(uv python find --system '>=3.11,<3.14' 2>/dev/null)"; do
  tested "${name:-false}" || continue
  : "${first:=$name}"
  if complete "$name"; then
    echo "$name"
    exit
  fi
done
echo "${first:-python3}"

#!/usr/bin/env bash
# Measures serving on this machine, one thing after another: the table of BENCHMARKS.md is made from what it prints.
#
#   deploy/serving.sh [benchmarks, default all: Clicks|Histories|Adopt|Fleet|Soak] [awake]
#
# "awake" gives each core a loop of lowest priority, so that it does not sleep between requests: to wake takes a virtual machine long, and its caches are then others'.
#
# Takes some fifteen minutes, and 2 GB of memory for Soak. Replicas are processes of their own, those of Clicks and Histories with one core, the last; NATS,
# the trainer and the load are in another. Run it on a machine that does nothing else: latencies are those of all its load.
set -euo pipefail
what=${1:-Clicks|Histories|Adopt|Fleet|Soak}
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
unset OPENBLAS_CORETYPE
work=$(mktemp -d)
loops=()
trap 'kill "${loops[@]}" 2>/dev/null; rm -rf "$work"' EXIT
if [ "${2:-}" = awake ]; then
	for ((core = 0; core < $(nproc); core++)); do
		taskset -c "$core" chrt --idle 0 sh -c 'while :; do :; done' &
		loops+=($!)
	done
fi
go version
lscpu | grep -E 'Model name|^CPU\(s\)' || true
echo "load before: $(cut -d' ' -f1-3 /proc/loadavg)"
go test -c -o "$work/replica.test" ./publisher/replica
cd publisher/replica
# measure runs what of $1 was asked for, by the command that follows.
measure() {
	local these
	these=$(tr '|' '\n' <<<"$what" | grep -xE "$1" | paste -sd'|') || return 0
	"${@:2}" "$work/replica.test" -test.run '^$' -test.bench "^BenchmarkServing($these)\$" -test.benchtime 1x -test.timeout 30m >>"$work/out" ||
		{ cat "$work/out" >&2; exit 1; }
}
apart=()
if command -v taskset >/dev/null && [ "$(nproc)" -gt 1 ]; then apart=(taskset -c 0); fi # the load leaves the replica its core
measure 'Clicks|Histories' env GOMAXPROCS=1 "${apart[@]}"
measure 'Adopt|Fleet|Soak' env
awk '/^BenchmarkServing/ {
	sub(/^BenchmarkServing/, "", $1); sub(/-[0-9]+$/, "", $1)
	for (i = 3; i < NF; i += 2) if ($(i + 1) != "ns/op") printf "%-28s %16s %s\n", $1, $i, $(i + 1)
}' "$work/out"

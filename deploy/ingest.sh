#!/usr/bin/env bash
# Measures ingest on this machine, one thing after another: the tables of BENCHMARKS.md are made from what it prints.
#
#   deploy/ingest.sh [runs of each, default 3]
#
# Takes about ten minutes. Run it on a machine that does nothing else.
set -euo pipefail
runs=${1:-3}
cd "$(dirname "$0")/.."
export CGO_ENABLED=0
unset OPENBLAS_CORETYPE
bench() { # package, benchmarks, time or number of iterations, runs
	printf '\n== %s\n' "$1 $2"
	go test -run '^$' -bench "$2" -benchtime "$3" -count "$4" -timeout 30m "$1" | grep -E '^Benchmark'
}
go version
lscpu | grep -E 'Model name|^CPU\(s\)' || true
bench ./cmd/freshet 'Pipeline/(kafka-go|fetch|ingest)' 5x "$runs" # records to a durable log, beside bare loops
bench ./ingest/window 'Add$' 1000000x "$runs"                      # click to window, 10 k to 1 M open sessions
bench ./ingest/window 'AddAhead' 30x "$runs"                       # the same, with and without looking ahead, in turn
bench ./ingest/window 'Memory|Restore' 1x "$runs"                  # bytes of an open session, start with 1 M of them
bench ./ingest 'Apply/disk' 300x 1                                 # clicks to synced commits, 10 k to 1 M open sessions
bench ./ingest/buffer 'Commit/disk' 1000x 1                        # bytes that Pebble writes for a click
bench ./ingest/buffer 'Restart' 1x "$runs"                    # the store's start with 1 M open sessions
bench ./ingest/decode 'JSON|Avro|Protobuf' 300000x 1               # record to click
bench ./ingest/flight 'Stream' 1x "$runs"                          # the log over Arrow Flight

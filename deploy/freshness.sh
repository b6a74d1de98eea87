#!/usr/bin/env bash
# Measures freshness, memory and the size of updates under a steady simulated load, in real time.
#
#   deploy/freshness.sh [records per second, default 1000] [seconds, default 120]
#
# Settings come from the environment as always, e.g. FRESHET_WINDOW_PART_AGE=1s. Needs curl, jq and a POSIX ps.
set -euo pipefail
rate=${1:-1000}
seconds=${2:-120}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -o "$work/freshet" ./cmd/freshet
FRESHET_SIM_RATE=$rate "$work/freshet" up --speed 1x --data-dir "$work/data" --listen 127.0.0.1:0 >"$work/out" 2>"$work/log" &
pid=$!
for _ in $(seq 50); do
	api=$(sed -n 's/.*msg="freshet is up" api=\([^ ]*\).*/\1/p' "$work/log")
	[ -n "$api" ] && break
	sleep 0.2
done
[ -n "$api" ] || { cat "$work/log" >&2; exit 1; }
sleep "$seconds"
curl -sf "$api/v1/status" >"$work/status"
curl -sf "$api/metrics" >"$work/metrics"
mean() { # bytes per update of a kind
	awk -v kind="kind=\"$1\"" 'index($0, kind) && /^freshet_update_bytes_total/ {b=$2} index($0, kind) && /^freshet_updates_published_total/ {n=$2} END {printf "%d", n ? b/n : 0}' "$work/metrics"
}
jq --arg rss "$(ps -o rss= -p "$pid")" --arg cpu "$(ps -o %cpu= -p "$pid")" --arg base "$(mean base)" --arg delta "$(mean delta)" \
	'{clicks, clicks_per_second, kafka_lag, freshness_seconds, training, open_sessions, versions, backend, rss_mb: (($rss|tonumber)/1024|floor), cpu_percent: ($cpu|tonumber), base_bytes: ($base|tonumber), delta_bytes: ($delta|tonumber)}' "$work/status"

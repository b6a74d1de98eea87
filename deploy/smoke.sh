#!/usr/bin/env bash
# Runs the commands of the README as a new user would, on ports and in a directory of its own. Needs curl.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || { kill "$pid" && wait "$pid" || true; }; rm -rf "$work"' EXIT
export CGO_ENABLED=0 FRESHET_DATA_DIR=$work/data FRESHET_SERVE_LISTEN=127.0.0.1:0
go build -o "$work/freshet" ./cmd/freshet

"$work/freshet" up --speed 10x >"$work/out" 2>"$work/log" &
pid=$!
api=
for _ in $(seq 100); do
	api=$(sed -n 's/.*msg="freshet is up" api=\([^ ]*\).*/\1/p' "$work/log")
	[ -n "$api" ] && "$work/freshet" health "$api/readyz" >/dev/null 2>&1 && break
	sleep 0.1
done
[ -n "$api" ] || { cat "$work/log" >&2; exit 1; }
sleep 3
has() { # URL pattern: the answer holds the pattern
	curl -sf -o "$work/answer" "$1" && grep -qi "$2" "$work/answer" || { echo "smoke: $1 does not answer with $2" >&2; exit 1; }
}
has "$api/v1/recommend?user_id=u17&k=5" '"items":\[{'
has "$api/v1/status" '"stage":"running"'
has "$api/metrics" '^freshet_clicks_total'
has "$api/" '<title>freshet'
"$work/freshet" recommend --user u17 --server "$api" >"$work/recommend"
grep -q 'version' "$work/recommend"
kill -TERM "$pid" && wait "$pid"
pid=
"$work/freshet" config >"$work/config"
grep -q '^kafka:' "$work/config"
FRESHET_DATA_DIR=$work/once "$work/freshet" up --once --json --clicks 3000 >"$work/out" 2>"$work/log"
tail -1 "$work/out" | grep -q '"pending":0'
echo "smoke: the README's commands work"

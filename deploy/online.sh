#!/usr/bin/env bash
# Replays a stream of clicks under one policy of recency after another: the tables of BENCHMARKS.md on recency, freshness and quality are made from what this prints.
# Each table is one command, printed before it runs; its report is OUT/NAME.html.
#
#   deploy/online.sh FILE OUT [table…]     tables: quality freshness recency alone; all without any
#
# quality   the whole stream, every click asked for: the model, its blend, and baselines tuned on the first fifth of Globo
# freshness the first clicks, everything late by 10 s to a day, and only the weights late
# recency   the first clicks, the policies of TBGRecall's table every six hours, and ours; tables live
# alone     the same without live terms: what the network alone forgets
set -euo pipefail
data=$(realpath "${1:?usage: deploy/online.sh FILE OUT [table…]}")
out=${2:?usage: deploy/online.sh FILE OUT [table…]}
shift 2
tables=${*:-quality freshness recency alone}
mkdir -p "$out"
out=$(realpath "$out")
cd "$(dirname "$0")/.."
unset OPENBLAS_CORETYPE
CGO_ENABLED=0 go build -o "$out/freshet" ./cmd/freshet

replay() { # name, flags…
	local name=$1
	shift
	set -- "$out/freshet" replay "$data" --part-clicks 1 "$@" --json --report "$out/$name.html" --csv "$out/$name.csv"
	printf '\n== %s\n%s\n' "$name" "$*"
	"$@" 2>"$out/$name.log" | tee "$out/$name.txt"
}
tuned=vsknn.k=300,vsknn.remind=false,stan.age=1h,stan.k=500,stan.remind=false,vstan.age=1h

for table in $tables; do
	case $table in
	quality)
		replay quality --last 0.8 --arm "model:preset=fast-pit,$tuned,batch_span=5m"
		;;
	freshness)
		arms=(--arm fresh:preset=fast)
		for d in 10s 1m 10m 1h 6h 24h; do arms+=(--arm "late-$d:preset=fast,delay=$d"); done
		for d in 1m 10m 1h 6h 24h; do arms+=(--arm "weights-$d:preset=fast,weights_delay=$d"); done
		replay freshness --limit 300000 "${arms[@]}"
		;;
	recency | alone)
		also=
		[ "$table" = alone ] && also=,terms=false
		arms=()
		for policy in full incremental stochastic pit; do arms+=(--arm "$policy:preset=$policy,period=6h,batch_span=5m$also"); done
		arms+=(--arm "pit-short:preset=pit,window=3,period=6h,batch_span=5m$also")
		for policy in fast fast-pit frozen; do arms+=(--arm "$policy:preset=$policy,batch_span=5m$also"); done
		replay "$table" --limit 400000 --last 0.5 "${arms[@]/frozen,batch/frozen,freeze_after=24h,batch}"
		;;
	*)
		echo "$table is no table: quality, freshness, recency or alone" >&2
		exit 2
		;;
	esac
done

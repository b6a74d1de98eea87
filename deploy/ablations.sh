#!/usr/bin/env bash
# Takes the pieces of TBGRecall away one at a time, on a stream of whole sessions, and prints recall@20 and MRR@20 over the last third of the tests:
# the table of BENCHMARKS.md is made from what it prints.
#
#   deploy/ablations.sh FILE [clicks, default 300000] [seeds, default "1 2 3"] [format, default csv]
set -euo pipefail
data=$(realpath "${1:?usage: deploy/ablations.sh FILE [clicks] [seeds] [format]}")
clicks=${2:-300000}
seeds=${3:-1 2 3}
format=${4:-csv}
cd "$(dirname "$0")/.."
unset OPENBLAS_CORETYPE
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -o "$work/freshet" ./cmd/freshet
export FRESHET_WINDOW_PART_AGE=0s # sessions are learned from when they have closed: parts of one click have no siblings and no order

number() { sed -n "s/.*\"last_third\":.*\"$1\":{\"model\":\([0-9.]*\).*/\1/p"; }
run() { # arm, settings...
	local arm=$1
	shift
	for seed in $seeds; do
		local line
		line=$(env FRESHET_TRAIN_SEED="$seed" FRESHET_TRAIN_MODEL_TOKEN_NETWORKS=true FRESHET_TRAIN_MODEL_HORIZON=2 \
			FRESHET_TRAIN_MODEL_EXPERTS=8 FRESHET_TRAIN_MODEL_EXPERT_WIDTH=32 "$@" \
			"$work/freshet" up --once --json --source "$data" --format "$format" --speed max --clicks "$clicks" \
			--data-dir "$(mktemp -d -p "$work")" --listen 127.0.0.1:0 2>/dev/null | tail -n 1)
		echo "$arm	$seed	$(number recall_at_20 <<<"$line")	$(number mrr_at_20 <<<"$line")" | tee -a "$work/rows"
	done
}
run "full"
run "- TSN" FRESHET_TRAIN_MODEL_TOKEN_NETWORKS=false
run "- MSP" FRESHET_TRAIN_MODEL_HORIZON=1
run "- session RoPE" FRESHET_TRAIN_MODEL_ROTARY=token
run "- session mask" FRESHET_TRAIN_MODEL_MASK=causal
run "- MoE" FRESHET_TRAIN_MODEL_EXPERTS=0
run "- TSN, MSP, MoE" FRESHET_TRAIN_MODEL_TOKEN_NETWORKS=false FRESHET_TRAIN_MODEL_HORIZON=1 FRESHET_TRAIN_MODEL_EXPERTS=0
echo "== mean over seeds, least and most"
awk -F'\t' '
	!($1 in n) {order[++arms] = $1}
	{n[$1]++; r[$1] += $3; m[$1] += $4
	 if (n[$1] == 1 || $3 < lo[$1]) lo[$1] = $3; if ($3 > hi[$1]) hi[$1] = $3
	 if (n[$1] == 1 || $4 < mlo[$1]) mlo[$1] = $4; if ($4 > mhi[$1]) mhi[$1] = $4}
	END {for (i = 1; i <= arms; i++) {a = order[i]; printf "%-16s recall@20 %.4f (%.4f to %.4f)   MRR@20 %.4f (%.4f to %.4f)\n", a, r[a]/n[a], lo[a], hi[a], m[a]/n[a], mlo[a], mhi[a]}}' "$work/rows"

#!/usr/bin/env bash
# Trains HSTU and SASRec beside PyTorch, in turn on the same file, and prints tokens a second: the table of BENCHMARKS.md is made from what it prints.
#
#   deploy/model.sh ml-1m.csv [rounds, default 3] [seconds of each of PyTorch's, default 20]
#
# The file is CSV with a header that has user, item and ts (gzip will do). PyTorch is Debian's: apt-get install python3-torch libopenblas0-pthread.
# Run it on a machine that does nothing else.
set -euo pipefail
data=$(realpath "${1:?usage: deploy/model.sh FILE.csv[.gz] [rounds] [seconds]}")
rounds=${2:-3}
seconds=${3:-20}
cd "$(dirname "$0")/.."
unset OPENBLAS_CORETYPE
python=${PYTHON:-/usr/bin/python3}
"$python" -c 'import torch' || { echo "PyTorch is missing: apt-get install python3-torch libopenblas0-pthread" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
plain=$work/data.csv
if gzip -t "$data" 2>/dev/null; then gzip -dc "$data" >"$plain"; else cp "$data" "$plain"; fi
CGO_ENABLED=0 go build -o "$work/freshet" ./cmd/freshet

lscpu | grep -E 'Model name|^CPU\(s\)' || true
peer() { # name, script, loss, threads
	local rate
	rate=$("$python" "trainer/model/testdata/peers/$2.py" --threads "$4" --bucket --loss "$3" --seconds "$seconds" --csv "$plain" |
		sed -n 's/.*real tok\/s med \([0-9,]*\).*/\1/p' | tr -d ,)
	echo "$1 PyTorch, $4 threads	$rate" | tee -a "$work/rates"
}
ours() { # name, preset, loss
	local line
	# what PyTorch's scripts do: width 64, two heads, products without cosine, 128 negatives that a batch shares
	line=$("$work/freshet" replay --protocol leave-one-out "$plain" --json 2>/dev/null --arm \
		"x:preset=$2,dim=64,heads=2,batch=128,cosine=false,negatives=128,negatives_per=batch,decay=none,loss=$3,epochs=2$4" | tail -n 1)
	echo "$1 freshet	$(sed -n 's/.*"tokens_per_second":\([0-9.]*\).*/\1/p' <<<"$line")	of peak $(sed -n 's/.*"peak_share":\([0-9.]*\).*/\1/p' <<<"$line")" | tee -a "$work/rates"
}
for _ in $(seq "$rounds"); do
	for loss in sampled full; do
		torch=$loss
		[ "$loss" = full ] && torch=full-chunk
		for threads in 1 2; do peer "HSTU $loss" torch_hstu "$torch" "$threads"; done
		ours "HSTU $loss" hstu "$loss" ""
		for threads in 1 2; do peer "SASRec $loss" torch_sasrec "$torch" "$threads"; done
		ours "SASRec $loss" sasrec "$loss" ",ffn=64"
	done
done
echo "== medians, tokens a second"
cut -f1 "$work/rates" | sort -u | while read -r name; do
	grep -F "$name	" "$work/rates" | cut -f2 | sort -n | awk -v name="$name" '{v[NR]=$1} END {printf "%-32s %8.0f   (%.0f to %.0f)\n", name, v[int((NR+1)/2)], v[1], v[NR]}'
done

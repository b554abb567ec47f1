#!/usr/bin/env bash
# What a monitor, or with `record` before the kind somebody who records, costs: 9 interleaved pairs of `rob bench`, without and with somebody who monitors everything; prints the rates of each and the median of
# their ratios. Needs release builds: cargo build --release --bins && benches/monitor.sh pubsub
#   benches/monitor.sh [record] KIND [OPTIONS OF THE BENCH…]
set -euo pipefail
cd "$(dirname "$0")/.."
programs=${CARGO_TARGET_DIR:-target}/release
how=monitor
if [[ ${1:-} == record ]]; then
  how=record
  shift
fi
kind=${1:?which bench: rpc or pubsub}
shift
place=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$place"' EXIT
"$programs/ipc-broker" --listen "unix:$place/b.sock" 2>"$place/log" &
until [[ -S $place/b.sock ]]; do :; done
rate() {
  "$programs/rob" --json --addr "unix:$place/b.sock" bench "$kind" --seconds 2 "$@" | tail -1 | sed 's/.*"rate":\([0-9]*\).*/\1/'
}
for pair in 1 2 3 4 5 6 7 8 9; do
  without=$(rate "$@")
  : >"$place/seen"
  case $how in
  monitor) "$programs/rob" --json --addr "unix:$place/b.sock" call sys.broker monitor j '{}' >"$place/seen" & ;;
  record) "$programs/rob" --addr "unix:$place/b.sock" record "$place/traffic" --force >"$place/seen" 2>/dev/null & ;;
  esac
  monitor=$!
  # Its first line says that it watches.
  until [[ -s $place/seen ]]; do :; done
  with=$(rate "$@")
  kill "$monitor"
  wait "$monitor" 2>/dev/null || true
  echo "$without $with"
done | tee "$place/pairs"
awk '{ print $2 / $1 }' "$place/pairs" | sort -n | sed -n '5s/^/with a monitor by without, median of 9 pairs: /p'

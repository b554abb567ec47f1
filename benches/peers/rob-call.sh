#!/usr/bin/env bash
# How long a whole `rob call` process takes beside a whole `busctl call`, both in turn, N of each (200 when not told otherwise).
# Ours goes through a broker to a worker in a third process; busctl's is answered by the bus itself, which is one process less.
# Needs busctl (Debian's systemd) and dbus-daemon. From the root of the repository, after
# `cargo build --release --bins --example worker`:
#   benches/peers/rob-call.sh [N]
set -euo pipefail

count=${1:-200}
target=${CARGO_TARGET_DIR:-target}/release
folder=$(mktemp -d)
children=()
finish() {
  for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

for program in "$target/rob" "$target/ipc-broker" "$target/examples/worker"; do
  [[ -x $program ]] || { echo "$program is missing: cargo build --release --bins --example worker" >&2; exit 2; }
done
for program in busctl dbus-daemon; do
  command -v "$program" >/dev/null || { echo "$program is missing: apt-get install systemd dbus" >&2; exit 2; }
done

# Nothing but what is asked for here decides where anybody connects.
unset XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS
export HOME=$folder
export IPC_BROKER_ADDR=unix:$folder/ipc.sock

"$target/ipc-broker" --listen "$IPC_BROKER_ADDR" --log error >"$folder/broker.out" &
children+=($!)
until grep -qs listening "$folder/broker.out"; do :; done
"$target/examples/worker" 2>"$folder/worker.out" &
children+=($!)

cat >"$folder/bus.conf" <<CONF
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=$folder/bus.sock</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
CONF
dbus-daemon --config-file="$folder/bus.conf" --nofork --print-address=3 3>"$folder/bus.out" 2>"$folder/bus.err" &
children+=($!)
until [[ -s $folder/bus.out ]]; do :; done

ours() { "$target/rob" call math add '{ii}' a 10 b 32; }
theirs() { busctl --address="unix:path=$folder/bus.sock" call org.freedesktop.DBus / org.freedesktop.DBus GetId; }

# Both answer, and what they need is in the cache, before anything is timed.
until ours >/dev/null 2>&1; do :; done
for ((warm = 0; warm < 10; warm++)); do ours >/dev/null; theirs >/dev/null; done

timed() {
  local before=$EPOCHREALTIME after
  "$1" >/dev/null
  after=$EPOCHREALTIME
  echo $((${after/./} - ${before/./}))
}
for ((at = 0; at < count; at++)); do
  timed ours >>"$folder/ours"
  timed theirs >>"$folder/theirs"
done
median() { sort -n "$1" | awk '{ all[NR] = $1 } END { print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }
ours=$(median "$folder/ours")
theirs=$(median "$folder/theirs")
awk -v ours="$ours" -v theirs="$theirs" -v count="$count" \
  'BEGIN { printf "whole processes, %d of each in turn, median µs: rob call %.0f, busctl call %.0f; ratio %.2f\n", count, ours, theirs, ours / theirs }'

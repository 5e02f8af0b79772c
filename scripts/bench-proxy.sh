#!/bin/sh
# Compares our proxy, with its firewall on, to a direct connection, a relay with io.Copy, nginx,
# haproxy and stunnel. Prints the medians of several rounds, in which the peers take turns. Skips
# peers that are not installed.
#
#   scripts/bench-proxy.sh [ROUNDS [BENCHTIME]]      default 5 1s
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-5} benchtime=${2:-1s}
test=$(mktemp)
trap 'rm -f "$test" "$test.out"' EXIT
go test -c -o "$test" ./spice/proxy

echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg)"
# Waking a virtual processor that sleeps takes 30 to 70 us, and a round trip through a peer wakes
# one three times. So loops with idle priority keep all processors awake while round trips are
# measured.
awake=
sleepless() {
    for _ in $(seq "$(nproc)"); do
        chrt --idle 0 sh -c 'while :; do :; done' &
        awake="$awake $!"
    done
}
asleep() {
    # shellcheck disable=SC2086 # a list of processes
    [ -z "$awake" ] || kill $awake
    awake=
}
trap 'asleep; rm -f "$test" "$test.out"' EXIT
trap 'exit 130' INT TERM # some shells do not run the other trap at a signal, and the loops ignore Ctrl-C
bench() { # bench PATTERN BENCHTIME
    (cd spice/proxy && "$test" -test.run '^$' -test.bench "$1" -test.benchtime "$2") >>"$test.out" || { cat "$test.out"; exit 1; }
}
: >"$test.out"
for _ in $(seq "$rounds"); do
    for what in throughput 'round trip' links; do
        if [ "$what" = 'round trip' ]; then sleepless; else asleep; fi
        bench "^BenchmarkPeers\$/./^$what\$" "$benchtime"
    done
done
# Each of these two takes 15 s, in which the sessions are idle.
bench '^BenchmarkPeers$/./^idle$' 1x
bench '^BenchmarkChurn$' 1x

awk '
function median(peer, unit,    n, i, j, swap, v) {
    n = count[peer, unit]
    if (!n) return "-"
    for (i = 1; i <= n; i++) v[i] = value[peer, unit, i]
    for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (v[j] < v[i]) { swap = v[i]; v[i] = v[j]; v[j] = swap }
    return v[int((n + 1) / 2)]
}
/^BenchmarkChurn/ { churn = $3 / 1e4 / 1e3 }
/^BenchmarkPeers\// {
    split($1, at, "/"); peer = at[2]
    if (!(peer in seen)) { seen[peer] = 1; order[++peers] = peer }
    for (i = 3; i < NF; i += 2) value[peer, $(i+1), ++count[peer, $(i+1)]] = $i
}
END {
    format = "%-10s %6s %9s %7s %7s %8s %11s %8s %10s\n"
    printf format, "peer", "MB/s", "CPU ms/GB", "p50 us", "p99 us", "links/s", "CPU us/link", "idle MB", "idle CPU"
    for (i = 1; i <= peers; i++) {
        p = order[i]; direct = p == "direct"
        printf format, p, median(p, "MB/s"), direct ? "-" : median(p, "cpu-ms/GB"), median(p, "p50-us"), median(p, "p99-us"), \
            median(p, "links/s"), direct ? "-" : median(p, "cpu-us/link"), median(p, "idle-MB"), direct ? "-" : median(p, "idle-cpu-ms/s") / 10 "%"
    }
    printf "10,000 clients came and went, %.0f us each, and left nothing behind.\n", churn
}' "$test.out"

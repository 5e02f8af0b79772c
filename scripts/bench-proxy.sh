#!/bin/sh
# Our proxy against a direct connection, a relay of io.Copy, nginx, haproxy and stunnel, in one run: throughput from the
# console and the round trip of a small message. A peer that is not installed is skipped.
#
#   scripts/bench-proxy.sh [BENCHTIME]      default 1s
set -eu
cd "$(dirname "$0")/.."
echo "machine: $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg)"
go test -run '^$' -bench '^BenchmarkPeers$' -benchtime "${1:-1s}" ./spice/proxy | awk '
/^BenchmarkPeers\// {
    split($1, at, "/"); peer = at[2]
    if (!(peer in seen)) { seen[peer] = 1; order[++n] = peer }
    for (i = 3; i < NF; i++) {
        if ($(i+1) == "MB/s") rate[peer] = $i
        if ($(i+1) == "p50-us") p50[peer] = $i
        if ($(i+1) == "p99-us") p99[peer] = $i
    }
}
/^(---|FAIL|panic)/ { print; failed = 1 }
END {
    printf "%-12s %10s %8s %10s %10s\n", "peer", "MB/s", "ratio", "p50 us", "p99 us"
    for (i = 1; i <= n; i++) {
        p = order[i]
        printf "%-12s %10.0f %8.2f %10.1f %10.1f\n", p, rate[p], rate[p] / rate["direct"], p50[p], p99[p]
    }
    exit failed
}'

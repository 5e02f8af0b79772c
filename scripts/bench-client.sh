#!/bin/sh
# Measures the time from the start of a client to its first picture, for our client and spice-gtk's
# spicy-screenshot, in turns, on one lane without a proxy. Each measurement is one process, which
# connects, writes one picture to a file and ends.
#
#   scripts/bench-client.sh [PAIRS]      default 30
set -eu
cd "$(dirname "$0")/.."
pairs=${1:-30}
make --no-print-directory -s build

lane=bench-client-$$
tmp=$(mktemp -d)
trap 'bin/spicelane down "$lane" >/dev/null 2>&1 || true; rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
bin/spicelane up --name "$lane" --proxy none --client none --agent off --json >"$tmp/state" 2>/dev/null

vv=$(sed -n 's/^  "vv": "\(.*\)",$/\1/p' "$tmp/state")
field() { sed -n "s/^$1=//p" "$vv"; }
host=$(field host) port=$(field port) password=$(field password)

now() { date +%s%N; }
i=0
while [ "$i" -lt "$pairs" ]; do
    a=$(now)
    bin/spicelane screenshot --vv "$vv" -o "$tmp/ours.png" >/dev/null
    b=$(now)
    spicy-screenshot -h "$host" -p "$port" -w "$password" -o "$tmp/spicy.ppm" >/dev/null 2>&1
    c=$(now)
    echo "$((b - a)) $((c - b))"
    i=$((i + 1))
done >"$tmp/times" # NB: not a pipe, where a failing client would end only the loop, not this script
awk '
    { ours[NR] = $1 / 1e6; spicy[NR] = $2 / 1e6; ratio[NR] = $1 / $2
      printf "pair %2d: ours %6.1f ms, spicy-screenshot %6.1f ms, ratio %.2f\n", NR, ours[NR], spicy[NR], ratio[NR] }
    function median(a, n,    i, j, t) {
        for (i = 2; i <= n; i++) for (j = i; j > 1 && a[j] < a[j-1]; j--) { t = a[j]; a[j] = a[j-1]; a[j-1] = t }
        return n % 2 ? a[(n+1)/2] : (a[n/2] + a[n/2+1]) / 2
    }
    END { printf "median: ours %.1f ms, spicy-screenshot %.1f ms, ratio %.2f\n", median(ours, NR), median(spicy, NR), median(ratio, NR) }' "$tmp/times"

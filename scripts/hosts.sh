#!/bin/sh
# Runs the README's two commands in minimal Debian systems, one after the other. Prints a table of
# the results and of the versions that they ran with.
#
#	scripts/hosts.sh [SUITE…]        as root; the default is bookworm and trixie
#
# debootstrap makes each system below $HOSTS_DIR (default: /var/tmp/spicelane-hosts). The system has
# Go from this host and a clone of the last commit, and nothing else. HOSTS_COMMANDS are other
# commands, one per line. The logs are in artifacts/hosts/.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "scripts/hosts.sh: chroot and mount need root; run it with sudo" >&2; exit 1; }
command -v debootstrap >/dev/null || apt-get install -y debootstrap >&2
dir=${HOSTS_DIR:-/var/tmp/spicelane-hosts}
commands=${HOSTS_COMMANDS:-make smoke
make test}
[ $# -gt 0 ] || set -- bookworm trixie
mkdir -p "$dir" artifacts/hosts
goroot=$(go env GOROOT)
failed=0
table=artifacts/hosts/table.md
echo "| system | kernel | QEMU | spice-server | OVMF | command | result | seconds |" >"$table"
echo "|---|---|---|---|---|---|---|---|" >>"$table"

for suite; do
	root=$dir/$suite
	rm -rf "$root"
	# If this host's debootstrap does not know a newer suite, make it in the same way as sid.
	script=/usr/share/debootstrap/scripts/$suite
	[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
	debootstrap --variant=minbase --include=ca-certificates,git,make "$suite" "$root" http://deb.debian.org/debian "$script" >artifacts/hosts/"$suite"-debootstrap.log 2>&1 || {
		tail -5 artifacts/hosts/"$suite"-debootstrap.log >&2
		echo "scripts/hosts.sh: debootstrap could not make $suite; artifacts/hosts/$suite-debootstrap.log says more" >&2
		failed=1
		continue
	}
	git clone -q . "$root/src"
	mkdir -p "$root/usr/local/go" "$root/go-cache"
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	# The system also needs the certificates of the local network.
	cp -r /usr/local/share/ca-certificates "$root/usr/local/share/" && chroot "$root" update-ca-certificates >/dev/null 2>&1
	version() { chroot "$root" dpkg-query -W -f '${Version}' "$1" 2>/dev/null || echo "none"; }
	n=0
	while [ "$n" -lt "$(printf '%s\n' "$commands" | wc -l)" ]; do
		n=$((n + 1))
		command=$(printf '%s\n' "$commands" | sed -n "${n}p")
		log=artifacts/hosts/$suite-$n.log
		began=$(date +%s)
		# When these namespaces end, so does everything that the command left running or mounted.
		if unshare --mount --pid --fork --kill-child sh -c '
			mount --bind "$1" "$1" # ip netns wants / to be a mount point
			mount --bind "$2" "$1/usr/local/go"
			mount -t proc proc "$1/proc"
			mount --rbind /sys "$1/sys"
			mount --rbind /dev "$1/dev"
			mount -t tmpfs tmpfs "$1/run"
			exec chroot "$1" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 GOPROXY="$4" \
				PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
				sh -c "cd /src && $3"' sh "$root" "$goroot" "$command" "$(go env GOPROXY)" >"$log" 2>&1 </dev/null; then
			result=green
		else
			result="red: $log"
			failed=1
		fi
		echo "| $suite | $(uname -r) | $(version qemu-system-x86) | $(version libspice-server1) | $(version ovmf) | \`$command\` | $result | $(($(date +%s) - began)) |" >>"$table"
	done
done
cat "$table"
exit $failed

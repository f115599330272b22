#!/usr/bin/env bash
# What a sidecar's postStart does, by the contract: waits about 29 s for a mount at the path with the type, then as long for a name
# below it, with cat, grep, expr, sleep and date, and reports to the log of the container.
set -e
path=$1 type=$2 below=$3
wait_for() {
	local count=0
	while ! "$@"; do
		count=$(expr $count + 1)
		[ "$count" -lt 29 ] || { echo "$(date) gave up: $*" >/proc/1/fd/1; exit 1; }
		sleep 1
	done
}
listed() { cat /proc/self/mountinfo | grep -F " $path " | grep -q -F "$type"; }
wait_for listed
wait_for test -e "$path/$below"
echo "$(date) check-mount: $path is there" >/proc/1/fd/1

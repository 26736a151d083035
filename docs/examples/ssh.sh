#!/bin/sh
# Log in to a machine that has no open port: ssh.sh TOKEN [SSH ARGUMENTS...]
#
# There, somebody runs:  derphole share 22
# The port is opened for this one session and closed behind it.
set -eu

[ $# -ge 1 ] || { echo "usage: ssh.sh TOKEN [SSH ARGUMENTS...]" >&2 && exit 2; }
token=$1
shift

folder=$(mktemp -d)
: >"$folder/said"
DERPHOLE_TOKEN=$token derphole --quiet open 2>"$folder/said" &
opened=$!
trap 'kill "$opened" 2>/dev/null || :; rm -rf "$folder"' EXIT

# Its first line says where it listens; without one it has ended, and said why.
while ! port=$(sed -n 's/^listening on 127\.0\.0\.1:\([0-9]*\)$/\1/p' "$folder/said") || [ -z "$port" ]; do
    kill -0 "$opened" 2>/dev/null || { cat "$folder/said" >&2 && exit 1; }
    sleep 0.1
done
ssh -p "$port" -o HostKeyAlias=derphole-share 127.0.0.1 "$@"

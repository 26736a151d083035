# What scripts/two-hosts and scripts/live-check do at either end.  POSIX sh and the usual small
# programs alone: a host has no Python.
#
# Usage: sh FOLDER/helper.sh COMMAND...
#
# FOLDER is the folder of this run at this end.  All that a run makes lies below it:
#
#     program.name   what to run as the program
#     program/       the program, where it was copied
#     data/          tokens and payloads, which are ours
#     work/          where the program runs, and what it was told to write: `received`
#     tmp/           the TMPDIR of the program
#     home/          what the program would keep in the person's home
#     runtime/       where it would have sockets
#     pids/          a file for each program that was started
#     sockets        the inodes of all sockets that programs of this run were seen with
#
# What is in tmp, runtime and work at the end was left behind.
set -u

folder=$(CDPATH='' cd -- "${0%/*}" && pwd)
wait_s=3 # programs that were told to end may take so long

fail() {
    echo "$*" >&2
    exit 1
}

# marked: print the pid of every process that was started with this run's mark, or by one that was.
marked() {
    if [ -r /proc/self/environ ]; then
        grep -lF -- "TWO_HOSTS_RUN=$folder" /proc/[0-9]*/environ 2>/dev/null | cut -d / -f 3
    else
        # Other systems: what was started, and what has the folder in its command line.
        {
            for file in "$folder/pids"/*; do
                [ ! -s "$file" ] || ! kill -0 "$(cat "$file")" 2>/dev/null || cat "$file"
            done
            ps -A -o pid= -o command= | grep -F -- "$folder/" | grep -vF helper.sh |
                awk '{ print $1 }'
        } | sort -u
    fi
}

# open_sockets: print the inode of every socket of this network that is open.
open_sockets() {
    for table in tcp tcp6 udp udp6 udplite raw raw6; do
        [ ! -r "/proc/self/net/$table" ] || awk 'NR > 1 { print $10 }' "/proc/self/net/$table"
    done
    [ ! -r /proc/self/net/unix ] || awk 'NR > 1 { print $7 }' /proc/self/net/unix
}

# left_sockets: print the inode of every socket that a program of ours had and that is still open.
left_sockets() {
    [ -s "$folder/sockets" ] || return 0
    open_sockets | sort -u >"$folder/open"
    sort -u "$folder/sockets" | comm -12 - "$folder/open"
}

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi <"$1" | cut -d ' ' -f 1
}

# describe FILE: print its size and its SHA-256.
describe() {
    [ -f "$1" ] || fail "there is no file $1"
    echo "$(wc -c <"$1" | tr -d ' ') $(sha256 "$1")"
}

# has_time SECONDS: whether no more than that has gone by since `began` was set; after a pause.
has_time() {
    sleep 0.1
    [ $(($(date +%s) - began)) -le "$1" ]
}

command=$1
shift
began=$(date +%s)
case $command in
prepare)
    for name in data work tmp home runtime pids; do mkdir -p "$folder/$name"; done
    uname -sm
    ;;
start) # NAME ARGUMENTS...: become the program
    echo $$ >"$folder/pids/$1"
    TWO_HOSTS_NAME=[$1]
    export TWO_HOSTS_NAME
    shift
    # Settings of the person must not reach another relay or token; nothing is kept in a home.
    unset DERPHOLE_TOKEN DERPHOLE_RELAY DERPHOLE_DERP_MAP DERPHOLE_NPM DERPTUN_TOKEN
    XDG_CACHE_HOME=$folder/home/cache XDG_CONFIG_HOME=$folder/home/config
    XDG_STATE_HOME=$folder/home/state XDG_RUNTIME_DIR=$folder/runtime
    TMPDIR=$folder/tmp PYTHONUNBUFFERED=1 TWO_HOSTS_RUN=$folder
    export XDG_CACHE_HOME XDG_CONFIG_HOME XDG_STATE_HOME XDG_RUNTIME_DIR
    export TMPDIR PYTHONUNBUFFERED TWO_HOSTS_RUN
    cd "$folder/work" || exit
    exec "$(cat "$folder/program.name")" "$@"
    ;;
feed) # FILE COUNT NAME ARGUMENTS...: the program, fed COUNT bytes, and the rest after a line came
    file=$folder/data/$1
    count=$2
    shift 2
    {
        head -c "$count" "$file"
        read -r _
        tail -c "+$((count + 1))" "$file"
    } | sh "$0" start "$@"
    ;;
put) # NAME: write a file from standard input
    umask 077
    cat >"$folder/data/$1"
    ;;
payload) # NAME SIZE: make a file of random bytes, and describe it
    room=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')
    [ "$room" -gt $(($2 / 1024 + 1024)) ] ||
        fail "$((room / 1024)) MiB are free in $folder, which is less than the payload; set TMPDIR"
    head -c "$2" /dev/urandom >"$folder/data/$1"
    describe "$folder/data/$1"
    ;;
take) # describe what was received, and remove it
    describe "$folder/work/received"
    rm -f "$folder/work/received"
    ;;
forget) # NAME...: remove files of ours
    for name in "$@"; do rm -f "$folder/data/$name"; done
    ;;
signal) # SIGNAL NAME
    if [ "$1" = KILL ] && [ -r /proc/self/environ ]; then
        # A program in one file is two processes, and neither dies with the other then.
        for pid in $(marked); do
            ! grep -qF "TWO_HOSTS_NAME=[$2]" "/proc/$pid/environ" || kill -KILL "$pid"
        done
    else
        kill "-$1" "$(cat "$folder/pids/$2")"
    fi
    ;;
look) # keep in mind which sockets the programs have
    for pid in $(marked); do
        for file in "/proc/$pid/fd"/*; do
            readlink "$file" 2>/dev/null
        done
    done | sed -n 's/^socket:\[\(.*\)\]$/\1/p' >>"$folder/sockets"
    ;;
left) # [SECONDS]: print what was left behind, a line each; what ends only now has a while to do so
    while [ -n "$(marked)$(left_sockets)" ] && has_time "${1:-$wait_s}"; do :; done
    for pid in $(marked); do
        echo "process $pid: $(ps -p "$pid" -o args= 2>/dev/null || tr '\0' ' ' <"/proc/$pid/cmdline")"
    done
    for inode in $(left_sockets); do echo "socket $inode"; done
    # A folder in tmp or work is one thing, however much is in it.
    find "$folder/tmp" "$folder/runtime" "$folder/work" ! -type d ! -path "$folder/work/received" |
        sed -e "s|^$folder/||" -e 's|^\(tmp/[^/]*\)/.*|\1|' -e 's|^\(work/[^/]*\)/.*|\1|' |
        sort -u | sed 's|^|file |'
    echo "sockets seen: $(sort -u "$folder/sockets" 2>/dev/null | wc -l | tr -d ' ')"
    ;;
clean) # end what still runs
    for signal in TERM KILL; do
        pids=$(marked)
        # shellcheck disable=SC2086 # one word for each process
        [ -z "$pids" ] || kill "-$signal" $pids 2>/dev/null
        began=$(date +%s)
        while [ -n "$(marked)" ] && has_time "$wait_s"; do :; done
    done
    ;;
hold) # stay until standard input ends
    cat >/dev/null
    ;;
*) fail "helper.sh has no command $command" ;;
esac

# Helpers that the scripts here share; sourced, never run.  POSIX sh.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
venv=$root/.venv
wanted_pythons='python3.14 python3.13 python3.12 python3.11 python3'

# fail SENTENCE...: say it and end.
fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# show_help: print the comment block at the top of the calling script.
show_help() {
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p;}' "$0"
}

# is_python PROGRAM: whether it runs and is 3.11 to 3.14 (netifaces-plus has wheels for no later one).
is_python() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null
}

# find_python: print the newest usable Python, or fail with what to install.
find_python() {
    for candidate in ${PYTHON:-$wanted_pythons}; do
        if is_python "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python from 3.11 to 3.14 was found; on Debian or Ubuntu: apt install python3 python3-venv"
}

# make_venv PYTHON FOLDER: create a virtual environment, or fail with what to install.
make_venv() {
    if ! "$1" -c 'import ensurepip' 2>/dev/null; then
        version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        fail "$1 cannot make virtual environments; on Debian or Ubuntu: apt install python$version-venv"
    fi
    if ! "$1" -m venv "$2" >"$root/.build/venv.log" 2>&1; then
        rm -rf "$2"
        cat "$root/.build/venv.log" >&2
        fail "$1 could not make the virtual environment $2"
    fi
}

# install FOLDER PIP-ARGUMENTS...: pip install into a virtual environment, once for each setup.cfg.
install() {
    folder=$1
    shift
    state=$folder/.installed
    wanted=$(cat "$root/setup.cfg" "$root/pyproject.toml" "$root/scripts/constraints.txt" | cksum)
    wanted="$wanted $*"
    if [ -f "$state" ] && grep -qxF -- "$wanted" "$state"; then
        return
    fi
    echo "installing into ${folder#"$root"/}: $*" >&2
    if ! (cd "$root" && "$folder/bin/python" -m pip install --disable-pip-version-check -q "$@") \
        >"$root/.build/pip.log" 2>&1; then
        tail -n 30 "$root/.build/pip.log" >&2
        fail "pip could not install the packages; the lines above say why"
    fi
    echo "$wanted" >>"$state"
}

# prepare [EXTRA]: make .venv hold this checkout, and the packages of an extra of setup.cfg.
prepare() {
    mkdir -p "$root/.build"
    # One at a time: two scripts that find .venv incomplete must not both replace it.
    if command -v flock >/dev/null; then
        exec 9>"$root/.build/prepare.lock"
        flock 9
    fi
    if [ -d "$venv" ] && ! is_python "$venv/bin/python"; then
        echo "replacing .venv: its Python is gone or too old" >&2
        rm -rf "$venv"
    fi
    if [ ! -x "$venv/bin/python" ]; then
        python=$(find_python)
        make_venv "$python" "$venv"
    fi
    install "$venv" -e ".${1:+[$1]}"
    # As an installed program has it: where PYTHONDONTWRITEBYTECODE is set, every process of a test
    # would compile all of it anew.
    "$venv/bin/python" -m compileall -q "$root/derphole" "$root/tunnel" || true
    exec 9>&-
}

# exec_in_lab COMMAND...: become a command that may build labs, as root of a user namespace if need be.
exec_in_lab() {
    # Debian has the tools of a lab where only root's PATH looks.
    PATH=$PATH:/usr/sbin:/sbin
    export PATH
    [ "$(id -u)" != 0 ] || exec "$@"
    unshare --user --map-root-user true 2>/dev/null ||
        fail "this kernel lets no user make namespaces; run it as root"
    exec "$venv/bin/python" "$root/tests/natlab/rootless.py" "$@"
}

# now_ms: print a clock in milliseconds (whole seconds where date knows no finer).
now_ms() {
    stamp=$(date +%s%N)
    case $stamp in
    *N) echo "$(date +%s)000" ;;
    *) echo "${stamp%??????}" ;;
    esac
}

# stamp_time: export the time that is stamped into what is built: given, or of the last commit.
stamp_time() {
    : "${SOURCE_DATE_EPOCH:=$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 1700000000)}"
    export SOURCE_DATE_EPOCH PYTHONHASHSEED=1
}

# copy_sources FOLDER: copy the files of the project as they are here, and no others.
copy_sources() {
    git -C "$root" ls-files -z --cached --others --exclude-standard --deduplicate >"$root/.build/sources" ||
        fail "only a checkout made with git tells which files belong to the project"
    (cd "$root" && xargs -0 sh -c 'for file; do [ ! -e "$file" ] || printf "%s\\0" "$file"; done' sh) \
        <"$root/.build/sources" >"$root/.build/sources.there"
    tar -C "$root" --null -T "$root/.build/sources.there" -cf - | tar -C "$1" -xf -
    find "$1" -type d -exec chmod 755 {} +
    find "$1" -type f -exec chmod u=rwX,go=rX {} +
}

# version: print the version of the project.
version() {
    sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$root/derphole/__init__.py"
}

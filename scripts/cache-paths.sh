# Where the scripts keep what they fetch and build: outside the clone, in one
# place per user. Sourced by the scripts beside it; every value can be set from
# outside, and nothing but speed depends on what an earlier run left there.

set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/spinlet
tools=$cache/tools
guests=$cache/guests
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
# dist is what is installed on nodes; dev builds faster, for work on the code.
profile=${SPINLET_PROFILE:-dist}
programs=$CARGO_TARGET_DIR/$profile-bin

# fail MESSAGE...: one line on standard error, then exit 1.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# as_root COMMAND...: runs the command as root; says so where that cannot be.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this needs root and there is no sudo; as root, run: $*"
    fi
}

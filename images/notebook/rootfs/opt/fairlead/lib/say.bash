# shellcheck shell=bash
# Words for the Pod's log, and waiting without a process for every second waited.

say() {
    echo "fairlead: $*"
}

declare -A SAID=()
# A cause that lasts is said once, not every second.
say_once() {
    local cause=$*
    [[ -z ${SAID[$cause]:-} ]] || return 0
    SAID[$cause]=yes
    say "$@"
}

# Opens a pipe that nobody writes to; reading from it with a time limit is a sleep that forks nothing.
open_clock() {
    exec {CLOCK}<> <(:)
}

pause() {
    read -rt "$1" -u "$CLOCK" || true
}

# The state directory can be a volume; a read-only image without one has nowhere to put keys.
check_state() {
    [[ -d $STATE && -w $STATE ]] && return
    say_once "uid $EUID cannot write to $STATE" \
        "(hint: mount an emptyDir there when the root filesystem is read-only)"
    return 1
}

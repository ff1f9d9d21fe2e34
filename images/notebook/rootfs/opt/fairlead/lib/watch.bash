# shellcheck shell=bash
# Runs sshd and keeps what it serves true: a new host key or certificate is noticed and sshd reloaded. Authorized keys
# need no such care: sshd reads them at each login. OpenSSH 10 reads key and certificate only when it starts or gets a
# HUP; 9.2 does so for each connection.

# Sets SERVER to the process id of sshd: of a new one, or of the one that an earlier run of this service left when it
# was killed. That one has the port and people's sessions, so it is kept and reloaded.
start_sshd() {
    SERVER=
    trap stop_sshd TERM
    if find_sshd; then
        say "reloading the sshd that runs already, with the host key $HOST_KEY"
        kill -HUP "$SERVER"
        return
    fi
    say "starting sshd with the host key $HOST_KEY"
    # With job control off, a shell makes what it starts in the background ignore Ctrl-C, and sessions would inherit
    # that.
    set -m
    # An absolute path, because sshd starts itself again on HUP. -D and -e: this service supervises it, and the Pod's
    # log is its log.
    (umask "$SESSION_UMASK" && exec "$SSHD" -D -e -f "$STATE/sshd_config") &
    SERVER=$!
    set +m
}

# The number in the file may by now be another process's: only a listening sshd calls itself so.
find_sshd() {
    local -a command
    [[ -s $STATE/sshd.pid ]] && read -r SERVER <"$STATE/sshd.pid" && [[ -r /proc/$SERVER/cmdline ]] || return 1
    mapfile -d '' command <"/proc/$SERVER/cmdline"
    [[ ${command[*]} == *"$SSHD -D -e -f $STATE/sshd_config"*"[listener]"* ]]
}

# s6 asks this process to end, not sshd.
stop_sshd() {
    [[ -z $SERVER ]] || kill -TERM "$SERVER"
    exit 0
}

# Returns when sshd has ended or must: s6 then starts the service anew.
watch_sshd() {
    local known=$IDENTITY
    while pause 1; do
        if ! kill -0 "$SERVER" 2>/dev/null; then
            say "sshd has ended"
            return
        fi
        if ! read_identity; then
            say "the host key $HOST_KEY is gone: stopping sshd"
            kill -TERM "$SERVER"
            return
        fi
        [[ $IDENTITY == "$known" ]] && continue
        if write_config; then
            known=$IDENTITY
            say "the host key or its certificate changed: reloading sshd"
            kill -HUP "$SERVER"
            # The same cause after the next change is news again.
            # shellcheck disable=SC2034 # for lib/say.bash
            SAID=()
        else
            say_once "the host key or its certificate changed, but sshd keeps the old one; it is tried again"
        fi
    done
}

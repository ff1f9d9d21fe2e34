# shellcheck shell=bash
# Carries the container's environment into SSH sessions, which sshd otherwise starts with almost none: no NB_PREFIX, no
# conda on PATH, no CUDA or KUBERNETES variables.

# sshd hands its configuration to the process of each connection in one message of at most 256 KiB. Half of that leaves
# room for the rest, and a larger line would make every login fail.
readonly SETENV_BYTES=131072
# sshd ends a session that would get more than 1000 variables; it adds some itself.
readonly SETENV_COUNT=900

# Sets SETENV to one SetEnv line (sshd heeds the first only) and writes environment.sh for login shells, with PATH,
# values with line breaks, which no line can hold, and variables that found no room.
write_environment() {
    local -a pairs names=() values=() items=() multiline=()
    local pair name value exports='' total=7
    mapfile -d '' pairs < <(/usr/bin/env -0)
    # Lengths are in bytes and letters those of ASCII from here on, whatever the container's language.
    local LC_ALL=C
    for pair in "${pairs[@]}"; do
        name=${pair%%=*} value=${pair#*=}
        is_for_sessions "$name" || continue
        if [[ $value == *$'\n'* ]]; then
            multiline+=("$name")
            export_to_login_shells
            continue
        fi
        # /etc/profile sets its own.
        [[ $name != PATH ]] || export_to_login_shells
        names+=("$name")
        values+=("$value")
        value=${value//\\/\\\\}
        items+=("\"$name=${value//\"/\\\"}\"")
        ((total += ${#items[-1]} + 1))
    done
    drop_service_links
    drop_largest_values
    SETENV=
    # shellcheck disable=SC2034 # for lib/config.bash
    ((${#items[@]} == 0)) || SETENV="SetEnv ${items[*]}"
    ((${#multiline[@]} == 0)) || say_once "only login shells get values with line breaks: ${multiline[*]}"
    printf '%s' "$exports" >"$STATE/environment.sh.new" && mv "$STATE/environment.sh.new" "$STATE/environment.sh"
}

# sshd sets the first group itself for each session; the second is state of the shell and of s6 in this process.
is_for_sessions() {
    case $1 in
        HOME | USER | LOGNAME | SHELL | MAIL | TERM | DISPLAY | SSH_*) return 1 ;;
        PWD | OLDPWD | SHLVL | _ | S6_*) return 1 ;;
    esac
    [[ $1 =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]]
}

# Adds the caller's name and value to its exports.
export_to_login_shells() {
    exports+="export $name='${value//\'/\'\\\'\'}'"$'\n'
}

# Kubernetes adds seven or more variables for each Service of the namespace, so a busy namespace fills a session with
# what hardly anybody reads. They go first; those of the API server stay.
drop_service_links() {
    ((${#items[@]} > SETENV_COUNT)) || return 0
    local index before=${#items[@]}
    local link='^[A-Z0-9_]+_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_[A-Z]+)?)?)$'
    for index in "${!items[@]}"; do
        [[ ${names[index]} =~ $link && ${names[index]} != KUBERNETES_* ]] || continue
        drop "$index"
    done
    say_once "the environment has $before variables, too many for sshd; only login shells get the" \
        "$((before - ${#items[@]})) that describe Services (hint: \`enableServiceLinks: false\` in the Pod)"
}

# Few large values go rather than many small ones. The log gets their names and never a value.
drop_largest_values() {
    local index
    local -a dropped=()
    fits && return
    while ! fits && read -r _ index; do
        dropped+=("${names[index]}")
        drop "$index"
    done < <(for index in "${!items[@]}"; do echo "${#items[index]} $index"; done | sort -rn)
    say_once "the environment is too large for sshd; only login shells get: ${dropped[*]}"
}

fits() {
    ((total <= SETENV_BYTES && ${#items[@]} <= SETENV_COUNT))
}

# Moves one of the caller's variables from the line to the login shells.
drop() {
    local name=${names[$1]} value=${values[$1]}
    ((total -= ${#items[$1]} + 1))
    [[ $name == PATH ]] || export_to_login_shells
    unset "items[$1]"
}

# shellcheck shell=bash
# Makes jovyan the name of the uid the container runs as. sshd without root can log in its own uid only, and OpenShift
# chooses that at random.

adopt_user() {
    # Before anything is written: jovyan must never become another name of root.
    if ((EUID == 0)); then
        say_once "the container runs as root, for whom there is no SSH" "(hint: set \`runAsUser: 1000\`)"
        return 1
    fi
    local -a lines fields
    local line index uid=
    mapfile -t lines </etc/passwd
    for index in "${!lines[@]}"; do
        line=${lines[index]}
        [[ $line == jovyan:* ]] || continue
        IFS=: read -ra fields <<<"$line"
        uid=${fields[2]}
        lines[index]="jovyan:x:$EUID:${fields[3]}:${fields[4]}:${fields[5]}:${fields[6]:-/bin/bash}"
    done
    [[ $uid == "$EUID" ]] && return
    if [[ -z $uid ]]; then
        say_once "/etc/passwd has no user jovyan: this base does not keep the contract of Kubeflow's images"
        return 1
    fi
    if [[ ! -w /etc/passwd ]]; then
        say_once "running as uid $EUID, which is not jovyan's, and /etc/passwd is not writable" \
            "(hint: build the image with RANDOM_UID=yes)"
        return 1
    fi
    if ! without_new_privileges; then
        say_once "/etc/passwd is writable and the container may gain privileges, so anybody in it can become root:" \
            "jovyan stays uid $uid (hint: set \`allowPrivilegeEscalation: false\`)"
        return 1
    fi
    write_users "${lines[@]}" && say "jovyan is uid $EUID now"
}

# Whether the kernel ignores setuid programs here, such as su.
without_new_privileges() {
    local name value
    while IFS=$':\t' read -r name value; do
        [[ $name == NoNewPrivs ]] && break
    done </proc/self/status
    [[ ${value:-} == 1 ]]
}

# In place: /etc itself is not writable, so there is no renaming over the file. A copy comes first, for a disk that is
# full or a container that is stopped between the two.
write_users() {
    local copy=$STATE/passwd.before
    if ! cp /etc/passwd "$copy"; then
        say_once "cannot write to $STATE: is it full?"
        return 1
    fi
    if ! printf '%s\n' "$@" >/etc/passwd; then
        cat "$copy" >/etc/passwd
        say_once "cannot write /etc/passwd: is the disk full?"
        return 1
    fi
    rm -f "$copy"
}

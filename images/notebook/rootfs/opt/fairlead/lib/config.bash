# shellcheck shell=bash
# Writes the configuration sshd runs with, and lets sshd prove it before anything depends on it.

# Wanted where the installed sshd knows them. Older ones refuse the first keyword; builds without PAM or GSSAPI would
# write a line about the others into the log for every connection.
readonly OPTIONAL_LINES=(
    # Behind a gateway all logins come from one address, and a few bad ones would lock everybody out.
    "PerSourcePenalties no"
    # PAM refuses good keys where privilege escalation is forbidden, as in Pod Security's "restricted".
    "UsePAM no"
    # Nobody has a Kerberos ticket for a Pod, and trying costs the client time.
    "GSSAPIAuthentication no"
)

write_config() {
    local new=$STATE/sshd_config.new message
    # What an earlier start left could be open to others.
    rm -f "$new" "$STATE/environment.sh.new"
    if ! write_environment || ! config_lines >"$new"; then
        say_once "cannot write to $STATE: is it full?"
        return 1
    fi
    if ! message=$("$SSHD" -t -f "$new" 2>&1); then
        say_once "sshd refuses its configuration: $message" \
            "(hint: look into $STATE/sshd_config.d and $IMAGE/sshd_config.d; it is tried again every few seconds)"
        return 1
    fi
    mv "$new" "$STATE/sshd_config"
}

# For most keywords sshd keeps the first value it reads, so an image builder's own files come first.
config_lines() {
    echo "# Written at each start from $IMAGE/sshd_config: changes belong in $STATE/sshd_config.d/*.conf."
    [[ $KEYS != "$SECRET" ]] || access_lines
    echo "Include $STATE/sshd_config.d/*.conf"
    echo "Include $IMAGE/sshd_config.d/*.conf"
    cat "$IMAGE/sshd_config"
    [[ $KEYS == "$SECRET" ]] || access_lines
    identity_lines
    optional_lines
    [[ -z $SETENV ]] || printf '%s\n' "$SETENV"
}

optional_lines() {
    local line message
    for line in "${OPTIONAL_LINES[@]}"; do
        # The real host key, because without one sshd does not get as far as judging the option.
        message=$("$SSHD" -t -f /dev/null -h "$HOST_KEY" -o "$line" 2>&1) || continue
        [[ -n $message ]] || echo "$line"
    done
}

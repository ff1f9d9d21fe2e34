# shellcheck shell=bash
# Where sshd's host key, host certificate and authorized keys come from.

# Sets KEYS, HOST_KEY and HOST_CERTIFICATE. A mounted Secret counts alone, even empty: a Secret that was deleted must
# not bring other keys back to life.
choose_identity() {
    KEYS=$STATE
    [[ -d $SECRET ]] && KEYS=$SECRET
    HOST_KEY=$KEYS/ssh_host_ed25519_key
    HOST_CERTIFICATE=$HOST_KEY-cert.pub
}

# Without a Secret the notebook makes its own keys, of the three kinds that clients of any age know.
make_host_keys() {
    [[ $KEYS == "$STATE" ]] || return 0
    local kind
    for kind in ed25519 ecdsa rsa; do
        make_host_key "$kind" || return 1
    done
    # Left alone when it is there: it may be a mounted file that only root can write.
    [[ -e $STATE/authorized_keys ]] || : >"$STATE/authorized_keys"
}

make_host_key() {
    local kind=$1 key=$STATE/ssh_host_$1_key message
    if [[ -s $key ]]; then
        # On a volume with an fsGroup, Kubernetes lets the group read it, and sshd refuses a key that others can read.
        [[ ! -O $key ]] || chmod 0600 "$key"
        return 0
    fi
    local -a size=()
    # 3072 bits are ssh-keygen's default today, but not in every version.
    [[ $kind == rsa ]] && size=(-b 3072)
    rm -f "$key.new" "$key.new.pub"
    if ! message=$(ssh-keygen -q -t "$kind" "${size[@]}" -N '' -C "notebook" -f "$key.new" 2>&1); then
        say_once "cannot make the host key $key: $message"
        return 1
    fi
    # The private key last, because its presence means that both are complete.
    mv "$key.new.pub" "$key.pub" && mv "$key.new" "$key"
}

# Sets IDENTITY to the text of host key and certificate, and fails while there is no host key. Contents are compared
# rather than times: a Secret's new files can be older than the moment they appear.
read_identity() {
    local key='' certificate=''
    [[ -r $HOST_KEY ]] && IFS= read -rd '' key <"$HOST_KEY"
    [[ -r $HOST_CERTIFICATE ]] && IFS= read -rd '' certificate <"$HOST_CERTIFICATE"
    # shellcheck disable=SC2034 # for serve-sshd and lib/watch.bash
    IDENTITY=$key$certificate
    [[ -n $key ]]
}

# Who gets in. These lines come first where a Secret is mounted, because sshd keeps the first value it reads and no
# other file may let anybody in beside it; and after other files' where there is none.
access_lines() {
    echo "AuthorizedKeysFile $KEYS/authorized_keys"
    [[ $KEYS == "$SECRET" ]] || return 0
    echo "AuthorizedKeysCommand none"
    echo "TrustedUserCAKeys none"
}

# The host keys and the certificate.
identity_lines() {
    local kind
    echo "HostKey $HOST_KEY"
    [[ -s $HOST_CERTIFICATE ]] && echo "HostCertificate $HOST_CERTIFICATE"
    [[ $KEYS == "$STATE" ]] || return 0
    for kind in ecdsa rsa; do
        echo "HostKey $STATE/ssh_host_${kind}_key"
    done
}

# shellcheck shell=sh
# Gives SSH login shells what sshd's SetEnv cannot: PATH, which /etc/profile has just reset, and values with line
# breaks. A terminal in Jupyter already has the container's environment, hence the test. Any login shell may read this.
if [ -n "${SSH_CONNECTION:-}" ] && [ -r /ssh_conf/environment.sh ]; then
    # shellcheck disable=SC1091 # written at the container's start
    . /ssh_conf/environment.sh
fi

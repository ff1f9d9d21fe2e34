//! What a person's OpenSSH needs: a piece of `ssh_config` and lines of `known_hosts`.

use crate::key::PublicKey;
use crate::name::{HostSuffix, NotebookId};

/// Where clients reach the gateway. Vetted, because it is written into files that ssh reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAddress {
    host: String,
    port: u16,
}

/// What is wrong with a gateway's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway's address is HOST or HOST:PORT, with a DNS name or an IPv4 address")]
pub struct BadAddress;

/// The alias of the gateway in the configuration, and the name in its host certificate.
pub const GATEWAY_ALIAS: &str = "fairlead-gateway";

impl GatewayAddress {
    /// Reads `HOST` or `HOST:PORT`; 22 where no port stands.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0).ok_or(BadAddress)?),
            None => (text, 22),
        };
        let label = |label: &str| {
            let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(inside) && !label.starts_with('-')
        };
        if host.len() > 253 || !host.split('.').all(label) {
            return Err(BadAddress);
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// The piece of `ssh_config` for all notebooks behind one gateway. `identity` is the key's file, and `known_hosts` the
/// file that has [`known_hosts`]'s line; the client's own defaults where not given.
#[must_use]
pub fn ssh_config(
    gateway: &GatewayAddress,
    suffix: &HostSuffix,
    identity: Option<&str>,
    known_hosts: Option<&str>,
) -> String {
    let key = identity.map_or_else(String::new, |file| format!("  IdentityFile \"{file}\"\n  IdentitiesOnly yes\n"));
    let known = known_hosts.map_or_else(String::new, |file| format!("  UserKnownHostsFile \"{file}\"\n"));
    let both = format!(
        "{key}{known}  StrictHostKeyChecking yes\n  ForwardAgent no\n  ForwardX11 no\n  Ciphers {CIPHERS}\n  \
         ConnectTimeout 15\n  ServerAliveInterval 30\n  ServerAliveCountMax 4\n"
    );
    let GatewayAddress { host, port } = gateway;
    format!(
        "# Fairlead: notebooks by name, as in `ssh NOTEBOOK.NAMESPACE.{suffix}`.\n\
         Host {GATEWAY_ALIAS}\n  HostName {host}\n  Port {port}\n  HostKeyAlias {GATEWAY_ALIAS}\n  User fairlead\n{both}\n\
         Host *.{suffix}\n  User jovyan\n  Port 2209\n  ProxyJump {GATEWAY_ALIAS}\n{both}",
        suffix = suffix.as_str(),
    )
}

/// AES-128-GCM first: the client's order decides, and it costs the gateway half of what ChaCha20 does.
const CIPHERS: &str = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com";

/// The line of `known_hosts` that makes every notebook and the gateway known, whatever their addresses.
#[must_use]
pub fn known_hosts(suffix: &HostSuffix, authority: &str) -> String {
    format!("@cert-authority *.{},{GATEWAY_ALIAS} {}\n", suffix.as_str(), authority.trim_end())
}

/// The line of `known_hosts` that makes clients refuse whatever a withdrawn authority signed, also where an older line
/// still trusts it.
#[must_use]
pub fn revoked_authority(suffix: &HostSuffix, authority: &str) -> String {
    format!("@revoked *.{},{GATEWAY_ALIAS} {}\n", suffix.as_str(), authority.trim_end())
}

/// The line of `known_hosts` that makes clients refuse a host key that a notebook had before, with its certificate.
#[must_use]
pub fn revoked_host_key(suffix: &HostSuffix, notebook: &NotebookId, key: &PublicKey) -> String {
    format!("@revoked {} {}\n", notebook.host(suffix), key.line())
}

//! The one block of text that sets a computer up: pasted into a terminal once, it leaves a working `ssh NOTEBOOK`.
//!
//! It is a script that a person runs as it is, so nothing goes into it that was not vetted: gateway, suffix and
//! authorities by their types, the key by [`PublicKey`], the code by its alphabet. Comments of keys stay out.

use crate::client_config::{GATEWAY_ALIAS, GatewayAddress, ssh_config};
use crate::key::PublicKey;
use crate::name::HostSuffix;

/// The terminal that the block is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// A POSIX shell: Linux and macOS.
    Shell,
    /// PowerShell with Windows' own OpenSSH.
    PowerShell,
}

/// What the block sets up.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// Where the gateway is.
    pub gateway: &'a GatewayAddress,
    /// What host names end in.
    pub suffix: &'a HostSuffix,
    /// Lines of `known_hosts`, as [`crate::client_config::known_hosts`] makes them.
    pub known_hosts: &'a str,
    /// The key to sign in with. The block looks for its file, and tells ssh to use no other.
    pub key: &'a PublicKey,
    /// The code that makes the key count, while it does not.
    pub code: Option<&'a str>,
}

/// Ends the texts inside the block. No line of them can be this word.
const END: &str = "FAIRLEAD";

impl Setup<'_> {
    /// The block; `None` where a code is not letters and digits.
    #[must_use]
    pub fn block(&self, terminal: Terminal) -> Option<String> {
        if !self.code.is_none_or(|code| code.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            return None;
        }
        let confirm = |code| format!("ssh -l confirm {GATEWAY_ALIAS} confirm {code}\n");
        let last = self.code.map_or_else(|| format!("ssh {GATEWAY_ALIAS} ls\n"), confirm);
        let config = ssh_config(self.gateway, self.suffix, None, Some("~/.ssh/fairlead_known_hosts"));
        let (known, line) = (self.known_hosts.trim_end(), self.key.line());
        let blob = line.split(' ').nth(1).unwrap_or_default();
        let hosts = format!("{GATEWAY_ALIAS} *.{}", self.suffix.as_str());
        Some(match terminal {
            Terminal::Shell => format!(
                "mkdir -p ~/.ssh && chmod 700 ~/.ssh\n\
                 key=$(grep -lF '{blob}' ~/.ssh/*.pub 2>/dev/null | head -n 1)\n\
                 if [ -n \"$key\" ] && [ -f \"${{key%.pub}}\" ]; then key=${{key%.pub}}; \
                 else key=~/.ssh/fairlead.pub; echo '{line}' > \"$key\"; fi\n\
                 printf 'Host {hosts}\\n  IdentityFile \"%s\"\\n  IdentitiesOnly yes\\n\\n' \"$key\" \
                 > ~/.ssh/fairlead.conf\n\
                 cat >> ~/.ssh/fairlead.conf <<'{END}'\n{config}{END}\n\
                 cat > ~/.ssh/fairlead_known_hosts <<'{END}'\n{known}\n{END}\n\
                 touch ~/.ssh/config && chmod 600 ~/.ssh/config ~/.ssh/fairlead.conf\n\
                 grep -qxF 'Include fairlead.conf' ~/.ssh/config || \
                 {{ cp -p ~/.ssh/config ~/.ssh/config.before-fairlead && old=$(cat ~/.ssh/config) && printf 'Include fairlead.conf\\n\\n%s\\n' \"$old\" > ~/.ssh/config; }}\n\
                 {last}"
            ),
            Terminal::PowerShell => format!(
                "$dir = Join-Path $HOME '.ssh'; New-Item -ItemType Directory -Force $dir | Out-Null\n\
                 $key = Get-ChildItem (Join-Path $dir '*.pub') -ErrorAction SilentlyContinue |\n  \
                 Where-Object {{ Select-String -Quiet -SimpleMatch '{blob}' $_.FullName }} | Select-Object -First 1\n\
                 if ($key -and (Test-Path ($key.FullName -replace '\\.pub$', ''))) \
                 {{ $key = $key.FullName -replace '\\.pub$', '' }} else {{ $key = Join-Path $dir 'fairlead.pub'; [IO.File]::WriteAllText($key, \"{line}`n\") }}\n\
                 [IO.File]::WriteAllText((Join-Path $dir 'fairlead.conf'), \"Host {hosts}`n  \
                 IdentityFile `\"$($key -replace '\\\\', '/')`\"`n  IdentitiesOnly yes`n`n\" + @'\n{config}'@ + \"`n\")\n\
                 [IO.File]::WriteAllText((Join-Path $dir 'fairlead_known_hosts'), @'\n{known}\n'@ + \"`n\")\n\
                 $config = Join-Path $dir 'config'\n\
                 $old = if (Test-Path $config) {{ [IO.File]::ReadAllText($config) }} else {{ '' }}\n\
                 if (($old -split \"`r?`n\") -notcontains 'Include fairlead.conf') \
                 {{ if ($old) {{ [IO.File]::WriteAllText(\"$config.before-fairlead\", $old) }}; \
                 [IO.File]::WriteAllText($config, \"Include fairlead.conf`n`n\" + $old) }}\n\
                 {last}"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0P8ZbVr4RZkzPmcZ3wdcB6C9kQk0v1Xl0m4Ew0d5kT";

    fn block(terminal: Terminal, code: Option<&str>) -> Option<String> {
        let gateway = GatewayAddress::parse("ssh.example.com:2222").unwrap();
        let (suffix, key) = (HostSuffix::default(), PublicKey::parse(KEY).unwrap().0);
        let known_hosts = "@cert-authority *.notebook,fairlead-gateway ssh-ed25519 AAAAca\n";
        Setup { gateway: &gateway, suffix: &suffix, known_hosts, key: &key, code }.block(terminal)
    }

    #[test]
    fn a_block_for_each_terminal() {
        insta::assert_snapshot!("shell", block(Terminal::Shell, Some("ABCD2345")).unwrap());
        insta::assert_snapshot!("powershell", block(Terminal::PowerShell, Some("ABCD2345")).unwrap());
        assert!(block(Terminal::Shell, None).unwrap().ends_with("\nssh fairlead-gateway ls\n"));
    }

    #[test]
    fn a_code_that_could_say_more_makes_no_block() {
        for code in ["A;rm", "$(id)", "a b", "`id`", "A\n"] {
            assert_eq!(block(Terminal::Shell, Some(code)), None, "{code}");
        }
    }
}

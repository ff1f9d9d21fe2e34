//! The closed set of commands that the gateway runs on a session channel. There is no shell: a line becomes one of
//! these or is refused.

use fairlead_model::Fingerprint;

/// The longest line that is looked at: a key is at most 8 KiB.
const MAX_LINE: usize = 16 * 1024;
/// A code has 8 characters; this leaves room for what somebody copies around it.
const MAX_CODE: usize = 32;

/// What `help` prints.
pub(super) const HELP: &str = "\
commands of this gateway, each as `ssh GATEWAY COMMAND`:
  ls [--json]              the notebooks of your profiles, and their host names
  config                   a piece of ssh_config, and how to set it up
  whoami                   who you are here, and by which key
  keys list [--json]       your public keys
  keys add                 adds the public key that comes on standard input, or after the command
  keys remove FINGERPRINT  removes one: SHA256:...
  confirm CODE             makes the key count that you sign in with: `ssh -l confirm GATEWAY confirm CODE`;
                           with a key that counts already, shows the one that the code is of
  confirm CODE FINGERPRINT with a key that counts already, approves that one
  help                     this text
";

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Whoami,
    Ls {
        json: bool,
    },
    Config,
    /// With the key that is approved, where somebody approves one.
    Confirm {
        code: String,
        key: Option<Fingerprint>,
    },
    KeysList {
        json: bool,
    },
    /// The key's line; on standard input where none is given.
    KeysAdd {
        line: Option<String>,
    },
    KeysRemove {
        key: Fingerprint,
    },
}

/// Why a line is no command. It never repeats the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadCommand {
    #[error("there is no such command\nhint: `help` lists them")]
    Unknown,
    #[error("a command is one line of text without control characters\nhint: `help` lists them")]
    Line,
    #[error("a quotation mark is missing\nhint: `help` lists the commands")]
    Quote,
    #[error("usage: {0}")]
    Usage(&'static str),
}

const CONFIRM: BadCommand = BadCommand::Usage("confirm CODE [SHA256:...]");

/// Reads a line.
pub(super) fn parse(line: &[u8]) -> Result<Command, BadCommand> {
    let line = std::str::from_utf8(line).map_err(|_| BadCommand::Line)?.trim();
    if line.len() > MAX_LINE || line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(BadCommand::Line);
    }
    // A key's comment may have quotation marks of its own: the rest of this line is taken as it stands.
    if let Some(rest) = rest_after(line, &["keys", "add"]) {
        return Ok(Command::KeysAdd { line: (!rest.is_empty()).then(|| rest.to_owned()) });
    }
    let words = words(line)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["help" | "--help" | "-h"] => Ok(Command::Help),
        ["whoami"] => Ok(Command::Whoami),
        ["whoami", ..] => Err(BadCommand::Usage("whoami")),
        ["ls"] => Ok(Command::Ls { json: false }),
        ["ls", "--json"] => Ok(Command::Ls { json: true }),
        ["ls", ..] => Err(BadCommand::Usage("ls [--json]")),
        ["config"] => Ok(Command::Config),
        ["config", ..] => Err(BadCommand::Usage("config")),
        ["confirm", code] if code.len() <= MAX_CODE => Ok(Command::Confirm { code: (*code).to_owned(), key: None }),
        ["confirm", code, key] if code.len() <= MAX_CODE => {
            let key = Fingerprint::parse(key).ok_or(CONFIRM)?;
            Ok(Command::Confirm { code: (*code).to_owned(), key: Some(key) })
        }
        ["confirm", ..] => Err(CONFIRM),
        ["keys", "list"] => Ok(Command::KeysList { json: false }),
        ["keys", "list", "--json"] => Ok(Command::KeysList { json: true }),
        ["keys", "list", ..] => Err(BadCommand::Usage("keys list [--json]")),
        ["keys", "remove", key] => {
            let key =
                Fingerprint::parse(key).ok_or(BadCommand::Usage("keys remove SHA256:..., as `keys list` prints it"))?;
            Ok(Command::KeysRemove { key })
        }
        ["keys", "remove", ..] => Err(BadCommand::Usage("keys remove FINGERPRINT")),
        ["keys", ..] => Err(BadCommand::Usage("keys list|add|remove")),
        _ => Err(BadCommand::Unknown),
    }
}

/// What follows these words, if the line begins with them.
fn rest_after<'a>(line: &'a str, words: &[&str]) -> Option<&'a str> {
    let mut rest = line;
    for word in words {
        rest = rest.strip_prefix(word)?;
        let trimmed = rest.trim_start_matches([' ', '\t']);
        if trimmed.len() == rest.len() && !rest.is_empty() {
            return None;
        }
        rest = trimmed;
    }
    Some(rest)
}

/// Words as a shell has them, with '…', "…" and \, and nothing else of a shell.
fn words(line: &str) -> Result<Vec<String>, BadCommand> {
    let (mut all, mut word) = (Vec::new(), None::<String>);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => all.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(BadCommand::Quote)? {
                        end if end == c => break,
                        '\\' if c == '"' => word.push(chars.next().ok_or(BadCommand::Quote)?),
                        inside => word.push(inside),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next().ok_or(BadCommand::Quote)?),
            c => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_commands() {
        let code = |code: &str| Ok(Command::Confirm { code: code.to_owned(), key: None });
        let shown = format!("SHA256:{}", "A".repeat(43));
        let approves = format!("confirm ABCD2345 {shown}");
        let key = Fingerprint::parse(&shown);
        let add = |line: Option<&str>| Ok(Command::KeysAdd { line: line.map(str::to_owned) });
        for (line, command) in [
            ("help", Ok(Command::Help)),
            ("  ls\t--json ", Ok(Command::Ls { json: true })),
            ("'ls' \"--json\"", Ok(Command::Ls { json: true })),
            ("l\\s", Ok(Command::Ls { json: false })),
            ("confirm ABCD2345", code("ABCD2345")),
            ("confirm 'a b'", code("a b")),
            (&approves, Ok(Command::Confirm { code: "ABCD2345".to_owned(), key })),
            ("confirm ABCD2345 SHA256:AAAA", Err(CONFIRM)),
            ("confirm a b c", Err(CONFIRM)),
            ("keys add", add(None)),
            ("keys  add ssh-ed25519 AAAA it's \"me", add(Some("ssh-ed25519 AAAA it's \"me"))),
            ("keys addx", Err(BadCommand::Usage("keys list|add|remove"))),
            ("keysadd", Err(BadCommand::Unknown)),
            ("keys", Err(BadCommand::Usage("keys list|add|remove"))),
            ("ls; id", Err(BadCommand::Unknown)),
            ("ls -la", Err(BadCommand::Usage("ls [--json]"))),
            ("$(id)", Err(BadCommand::Unknown)),
            ("", Err(BadCommand::Unknown)),
            ("bash -i", Err(BadCommand::Unknown)),
            ("'ls", Err(BadCommand::Quote)),
            ("ls\\", Err(BadCommand::Quote)),
            ("ls\nhelp", Err(BadCommand::Line)),
            ("ls\0", Err(BadCommand::Line)),
            ("LS", Err(BadCommand::Unknown)),
        ] {
            assert_eq!(parse(line.as_bytes()), command, "{line:?}");
        }
        assert_eq!(parse(b"ls \xff"), Err(BadCommand::Line));
        assert_eq!(parse(&vec![b'a'; MAX_LINE + 1]), Err(BadCommand::Line));
    }

    #[test]
    fn every_command_is_in_the_help() {
        for command in ["help", "whoami", "ls", "config", "confirm", "keys list", "keys add", "keys remove"] {
            assert!(HELP.contains(&format!("\n  {command} ")), "{command}");
        }
    }
}

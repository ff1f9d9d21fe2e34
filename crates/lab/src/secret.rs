//! Secrets of one cluster: made when first asked for, in files that their owner alone reads.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};

/// The secret in `file`, 64 hexadecimal digits from the kernel's source of randomness where there was none.
pub fn ensure(file: &Path) -> Result<String> {
    if let Ok(secret) = fs::read_to_string(file)
        && secret.len() == 64
    {
        return Ok(secret);
    }
    let mut bytes = [0_u8; 32];
    let source = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    source.context("reading randomness")?;
    let secret = bytes.map(|byte| format!("{byte:02x}")).concat();
    write(file, &secret)?;
    Ok(secret)
}

/// Writes a file that its owner alone reads.
pub fn write(file: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(file);
    let mut opened = opened.with_context(|| format!("opening `{}`", file.display()))?;
    opened.write_all(text.as_bytes()).with_context(|| format!("writing `{}`", file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_read_by_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        let secret = ensure(&file).unwrap();
        assert_eq!(ensure(&file).unwrap(), secret);
        assert_ne!(ensure(&dir.path().join("other")).unwrap(), secret);
        assert!(secret.len() == 64 && secret.chars().all(|c| c.is_ascii_hexdigit()), "{secret}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

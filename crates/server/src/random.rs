//! Random names and codes, from the operating system.

use std::fmt::Write;

use anyhow::{Context, Result};

/// What a code is made of: letters and digits without 0, O, 1 and I, which look alike. 32 of them: 5 bits each.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// A code for a person to type: 8 characters, 40 bits.
pub fn code() -> Result<String> {
    Ok(bytes::<8>()?.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

/// A name that nothing else has: 32 hexadecimal digits.
pub fn id() -> Result<String> {
    Ok(hex(&bytes::<16>()?))
}

/// Hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Random bytes.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("getting random bytes from the operating system")?;
    Ok(bytes)
}

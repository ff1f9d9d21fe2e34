//! Commands for admins, who are at the machine: no sign-in, nothing but the database.

pub mod ca;
pub mod check;
pub mod config;
pub mod database;
mod import;
pub mod keys;

use std::io::{Write, stdout};

/// Says something to the person at the terminal. Whoever reads no more, as `head`, is not talked to any more.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(stdout().lock(), "{line}");
}

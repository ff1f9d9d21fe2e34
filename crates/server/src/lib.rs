//! Fairlead's server: everything that touches the world, one kind of I/O a file. What to do is decided in
//! `fairlead_model`; here it is done.

pub mod admin;
pub mod check;
pub mod clock;
pub mod cluster;
pub mod gateway;
pub mod gateway_identity;
pub mod greeting;
pub mod identity_store;
mod known_hosts;
pub mod lease;
pub mod ledger;
mod limited;
pub mod logs;
pub mod metrics;
pub mod operator;
pub mod page;
pub mod picture;
pub mod random;
pub mod readiness;
pub mod recorder;
pub mod rights;
pub mod serve;
pub mod settings;
pub mod store;
pub mod watch;
pub mod web;
pub mod webhook;

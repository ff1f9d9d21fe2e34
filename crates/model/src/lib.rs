//! The law of Fairlead: who reaches which notebook, and which objects should exist. Pure functions over plain data.
//!
//! Nothing here reads a clock, a file, the environment or the network. Time, secrets and settings come in as arguments;
//! facts about the cluster come in through [`read`] and [`World::apply`]; decisions go out as [`access::Grant`] and as
//! the objects of [`plan`].

pub mod access;
pub mod cidr;
pub mod client_config;
pub mod gateway_identity;
pub mod identity;
pub mod key;
pub mod name;
pub mod person;
pub mod plan;
pub mod read;
pub mod setup;
pub mod state;
pub mod time;
pub mod world;

pub use access::{Denied, Grant};
pub use key::{Fingerprint, PublicKey};
pub use name::{HostSuffix, Label, NotebookId};
pub use person::{Person, Role};
pub use state::State;
pub use time::Time;
pub use world::{Fact, Trouble, World};

//! The law's tests: by the same objects that a cluster sends, without a cluster.

mod cluster;
mod keys;
mod matrix;
mod mesh;
mod network;
mod objects;
mod reference;
mod states;
mod switches;

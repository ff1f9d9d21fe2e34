//! The main job, end to end: a real cluster, Fairlead in it by its own manifests, real notebooks, and people with a
//! stock OpenSSH. One at a time, because they share the one Fairlead of the cluster and some of them break it.

mod access;
mod changes;
mod outage;
mod page;
mod stage;

//! The lab's tests, in one binary: the tree itself, the lab, and the notebook image in real Pods.

mod audit;
mod control_plane;
mod environment;
mod forwarding;
mod harness;
mod identity;
mod ingress;
mod kubeflow;
mod lab;
mod mirrors;
mod notebook;
mod resilience;
mod security;
mod session;
mod tidy;
mod users;
mod watcher;

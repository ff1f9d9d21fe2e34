//! A real Kubernetes on one machine, for Fairlead's tests and its demo. For development only.
//!
//! Two sizes: a [`control_plane::ControlPlane`] (etcd and API server, ready in seconds, several at once) and the
//! [`cluster::Cluster`] (real Pods, one at a time). Kubeflow's controllers are stood in for by [`kubeflow`].

pub mod apiserver;
pub mod bench;
pub mod cgroups;
pub mod cluster;
pub mod components;
pub mod control_plane;
pub mod crds;
pub mod demo;
pub mod images;
pub mod ingress;
pub mod install;
pub mod installation;
pub mod kubeflow;
pub mod kubernetes;
pub mod node;
pub mod paths;
pub mod people;
pub mod pki;
pub mod postgres;
pub mod process;
pub mod secret;
pub mod service_map;
pub mod state;
pub mod team;

//! The objects and files that others read: Secret, `authorized_keys`, `ssh_config`.

use fairlead_model::client_config::{self, GatewayAddress};
use fairlead_model::identity::HostIdentity;
use fairlead_model::{HostSuffix, plan};

use crate::cluster::{Cluster, binding, id};

fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    cluster.profile("team-a", "alice").notebook("team-a", "bert", "10.1.0.1");
    cluster.see(&binding("team-a", "bob", "edit")).see(&binding("team-a", "carol", "view"));
    cluster.key("alice", 1).key("alice", 2).key("bob", 3).key("carol", 4).key("dave", 5);
    cluster
}

#[test]
fn authorized_keys_has_the_keys_of_who_works_in_the_profile() {
    insta::assert_snapshot!(plan::authorized_keys(&cluster().world, &id("team-a", "bert")));
}

#[test]
fn a_notebooks_secret() {
    let file = |name: &str| format!("(the {name})");
    let identity =
        HostIdentity { private: file("private key"), public: file("public key"), certificate: file("certificate") };
    let secret = plan::secret(&cluster().world, &id("team-a", "bert"), &identity).unwrap();
    let mut value = serde_json::to_value(&secret).unwrap();
    let files = secret.data.unwrap().into_iter().filter(|(name, _)| name != "authorized_keys");
    value["data"] = files.map(|(name, bytes)| (name, String::from_utf8(bytes.0).unwrap())).collect();
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
    assert!(plan::secret(&cluster().world, &id("team-a", "none"), &identity).is_none());
}

#[test]
fn a_persons_ssh_config_and_known_hosts() {
    let gateway = GatewayAddress::parse("ssh.example.com:2222").unwrap();
    let suffix = HostSuffix::default();
    let config =
        client_config::ssh_config(&gateway, &suffix, Some("~/.ssh/id_ed25519"), Some("~/.ssh/fairlead_known_hosts"));
    let known = client_config::known_hosts(&suffix, "ssh-ed25519 AAAA\n");
    insta::assert_snapshot!(format!("{config}\n# known_hosts\n{known}"));
}

#[test]
fn an_address_that_could_be_more_than_one_is_refused() {
    for text in [
        "",
        ":22",
        "a:",
        "a:0",
        "a:99999",
        "a b",
        "a\nProxyCommand x",
        "-oProxyCommand=x",
        "a;b",
        "a`id`",
        "$(id)",
        "a..b",
        "[::1]:22",
        "a/b",
        "é",
    ] {
        assert!(GatewayAddress::parse(text).is_err(), "{text:?}");
    }
    for (text, host, port) in
        [("a", "a", 22), ("SSH.example.com:2222", "ssh.example.com", 2222), ("10.0.0.1:22", "10.0.0.1", 22)]
    {
        let address = GatewayAddress::parse(text).unwrap();
        assert_eq!((address.host(), address.port()), (host, port));
    }
}

//! The objects and files that others read: Secret, `authorized_keys`, `ssh_config`.

use fairlead_model::client_config::{self, GatewayAddress};
use fairlead_model::identity::HostIdentity;
use fairlead_model::world::Key;
use fairlead_model::{Fact, HostSuffix, Person, plan};

use crate::cluster::{Cluster, binding, id, key};

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
fn no_persons_name_adds_to_authorized_keys() {
    // Every character of the first planes that text uses, and some beyond.
    let all = (0..0x3100).chain(0xe000..0xe010).chain([0xfeff, 0xfffd, 0x1_f600, 0xe_0001]).filter_map(char::from_u32);
    let mut taken = 0;
    for character in all {
        let name = format!("x{character}ssh-ed25519{character}AAAA");
        // The cluster of these tests adds the rest of an address.
        let Ok(owner) = Person::parse(&format!("{name}@example.com")) else { continue };
        let mut cluster = Cluster::default();
        cluster.profile("team-a", &name).notebook("team-a", "bert", "10.1.0.1");
        cluster.world.apply(Fact::Keys(vec![Key { person: owner, public: key(1) }], [].into()));
        let file = plan::authorized_keys(&cluster.world, &id("team-a", "bert"));
        assert_eq!(file.lines().count(), 2, "{character:?}: {file}");
        let line = file.lines().nth(1).unwrap();
        let name = line.strip_prefix(key(1).line()).and_then(|rest| rest.strip_prefix(' '));
        assert!(name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_graphic())), "{character:?}: {line}");
        taken += 1;
    }
    assert!(taken > 12_000, "{taken}");
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
fn a_suffix_that_could_say_more_to_ssh_is_refused() {
    for text in [
        "",
        ".",
        "notebook.",
        ".notebook",
        "a..b",
        "Notebook",
        "*",
        "notebook *",
        "notebook\nProxyCommand id",
        "notebook\r\n  LocalCommand id",
        "notebook\tHost x",
        "notebook,evil.example.com",
        "!notebook",
        "%h",
        "${HOME}",
        "$(id)",
        "`id`",
        "-oProxyCommand=id",
        "notebook;id",
        "notebook'",
        "notebook\"",
        "n\u{43e}tebook",
        "notebook\0",
    ] {
        assert!(HostSuffix::parse(text).is_err(), "{text:?}");
    }
    for text in ["notebook", "nb.ml.example.com"] {
        assert_eq!(HostSuffix::parse(text).map(|suffix| suffix.as_str().to_owned()), Ok(text.to_owned()));
    }
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

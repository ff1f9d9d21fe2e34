//! Public keys as strangers send them.

use fairlead_model::key::BadKey;
use fairlead_model::{Fingerprint, PublicKey};
use proptest::prelude::*;

use crate::cluster::key;

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO1N2dXjQYTzq9VO6m1Xl3xB3BGz0wV0TQJZ0g9Zl9mV";

#[test]
fn a_key_is_taken_with_its_comment_and_nothing_else_of_the_line() {
    let line = key(1).line().to_owned();
    for (typed, comment) in [
        (line.clone(), ""),
        (format!("{line} bert@laptop"), "bert@laptop"),
        (format!("  {line}\tmy  key \r\n"), "my key"),
    ] {
        let (parsed, found) = PublicKey::parse(&typed).unwrap();
        assert_eq!((parsed.line(), found.as_str()), (line.as_str(), comment));
        assert_eq!(Fingerprint::parse(parsed.fingerprint().as_str()).as_ref(), Some(parsed.fingerprint()));
    }
}

#[test]
fn what_is_no_plain_public_key_is_refused_with_what_to_do() {
    let good = key(1).line().to_owned();
    let refused = |text: &str| PublicKey::parse(text).unwrap_err();
    assert_eq!(refused(""), BadKey::Empty);
    assert_eq!(refused(" \n"), BadKey::Empty);
    assert_eq!(refused("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb\n"), BadKey::Private);
    for options in
        ["command=\"id\" ", "no-pty,", "cert-authority ", "from=\"*\" ", "# ", "restrict ", "@cert-authority * "]
    {
        assert_eq!(refused(&format!("{options}{good}")), BadKey::Options, "{options}");
    }
    for line in [
        format!("{good}\n{good}"),
        format!("{good} a\0b"),
        format!("{good} a\u{1b}[2Jb"),
        format!("{good} {}", "x".repeat(9000)),
    ] {
        assert_eq!(refused(&line), BadKey::Line, "{line:.80}");
    }
    assert_eq!(refused("ssh-dss AAAAB3NzaC1kc3MAAACBAP"), BadKey::Type("ssh-dss"));
    assert_eq!(refused("ssh-ed25519-cert-v01@openssh.com AAAA"), BadKey::Certificate);
    assert_eq!(refused("ssh-ed448 AAAA"), BadKey::Options);
    for damaged in [
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 !!!!",
        &good[..good.len() - 4],
        &format!("ssh-rsa {}", &good[12..]),
    ] {
        assert_eq!(refused(damaged), BadKey::Damaged, "{damaged}");
    }
    assert!(matches!(PublicKey::parse(ED25519), Ok(_) | Err(BadKey::Damaged)));
}

proptest! {
    #[test]
    fn whatever_is_typed_a_key_that_is_taken_is_one_clean_line(text in "\\PC{0,200}", number in 0..=255_u8) {
        for text in [text.clone(), format!("{} {text}", key(number).line()), format!("{text} {}", key(number).line())] {
            if let Ok((parsed, comment)) = PublicKey::parse(&text) {
                prop_assert!(parsed.line().bytes().all(|b| b.is_ascii_graphic() || b == b' '));
                prop_assert_eq!(parsed.line().split(' ').count(), 2);
                prop_assert!(comment.chars().count() <= 100 && !comment.contains(char::is_control));
                prop_assert_eq!(&PublicKey::parse(parsed.line()).unwrap().0, &parsed);
            }
        }
    }
}

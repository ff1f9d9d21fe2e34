//! Public keys as strangers send them.

use fairlead_model::key::BadKey;
use fairlead_model::{Fingerprint, PublicKey};
use proptest::prelude::*;
use ssh_key::Mpint;
use ssh_key::public::{KeyData, RsaPublicKey};

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

#[test]
fn rsa_keys_are_taken_as_far_as_their_signatures_can_be_checked() {
    // Numbers of the right length alone: nobody has the private keys.
    let rsa = |bits: usize, exponent: &[u8], last: u8| {
        let mut modulus = vec![0x5a; bits.div_ceil(8)];
        modulus[0] = 0x80_u8 >> (bits.next_multiple_of(8) - bits);
        *modulus.last_mut().unwrap() = last;
        let number = |bytes: &[u8]| Mpint::from_positive_bytes(bytes);
        let data = KeyData::Rsa(RsaPublicKey::new(number(exponent), number(&modulus)).unwrap());
        PublicKey::parse(&ssh_key::PublicKey::new(data, "").to_openssh().unwrap()).map(|(key, _)| key.kind().to_owned())
    };
    let usual = [1, 0, 1];
    for bits in [3072, 4096, 8192] {
        assert_eq!(rsa(bits, &usual, 1).as_deref(), Ok("ssh-rsa"), "{bits}");
    }
    for bits in [2048, 3071, 8193, 16384] {
        assert_eq!(rsa(bits, &usual, 1), Err(BadKey::RsaSize(bits)));
    }
    assert_eq!(rsa(3072, &[3], 1).as_deref(), Ok("ssh-rsa"));
    assert_eq!(rsa(3072, &[1, 0xff, 0xff, 0xff, 0xff], 1).as_deref(), Ok("ssh-rsa"));
    for exponent in [&[1][..], &[4], &[2, 0, 0, 0, 1]] {
        assert_eq!(rsa(3072, exponent, 1), Err(BadKey::RsaExponent), "{exponent:?}");
    }
    assert_eq!(rsa(3072, &usual, 2), Err(BadKey::Damaged));
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

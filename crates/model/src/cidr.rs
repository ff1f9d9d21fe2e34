//! Blocks of addresses, as policies name them.

use std::fmt;
use std::net::IpAddr;

/// A block such as `10.0.0.0/8`, or one address: then with all its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    base: IpAddr,
    length: u8,
}

/// The shortest length of a block: the largest private network is 10.0.0.0/8, and shorter ones add up to everybody.
const SHORTEST: u8 = 8;

/// Why a text is no block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCidr {
    /// Neither an address nor ADDRESS/LENGTH.
    #[error("`{0}` is neither an address nor a block of them\nhint: --direct-cidrs 10.8.0.0/16")]
    Text(String),
    /// Every address there is, or a good part of them.
    #[error("`{0}` is nearly everybody, and would open port 2209 to them\nhint: --direct-cidrs 10.8.0.0/16")]
    Everybody(String),
    /// Kubernetes and Istio may read it one way or the other.
    #[error("`{0}` has bits beyond its length\nhint: --direct-cidrs {1}")]
    Loose(String, Cidr),
    /// An IPv4 address written as IPv6: no connection has it as its source.
    #[error("`{0}` is an IPv4 address in IPv6's clothes\nhint: --direct-cidrs 10.8.0.0/16")]
    Mapped(String),
}

impl Cidr {
    /// Reads `ADDRESS` or `ADDRESS/LENGTH`. Nearly everybody is no block: who wants that wants no policy.
    pub fn parse(text: &str) -> Result<Self, BadCidr> {
        let bad = || BadCidr::Text(text.to_owned());
        let (base, length) = match text.split_once('/') {
            Some((base, length)) => (base, Some(length)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| bad())?;
        let digits =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        let length = match length {
            Some(length) if digits(length) => length.parse().map_err(|_| bad())?,
            Some(_) => return Err(bad()),
            None => width(base),
        };
        match base {
            _ if length > width(base) => return Err(bad()),
            _ if length < SHORTEST => return Err(BadCidr::Everybody(text.to_owned())),
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => return Err(BadCidr::Mapped(text.to_owned())),
            _ => {}
        }
        let strict = Self { base: cut(base, length), length };
        if strict.base == base { Ok(strict) } else { Err(BadCidr::Loose(text.to_owned(), strict)) }
    }

    /// Whether an address is in the block.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.base.is_ipv4() == ip.is_ipv4() && cut(ip, self.length) == self.base
    }
}

impl From<IpAddr> for Cidr {
    fn from(ip: IpAddr) -> Self {
        Self { base: ip, length: width(ip) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

const fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// An address with the bits beyond a length cleared.
fn cut(ip: IpAddr, length: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)).into()),
        IpAddr::V6(ip) => {
            IpAddr::V6((ip.to_bits() & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_as_it_is_written_or_refused_with_a_hint() {
        for (text, read) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("fd00::/8", "fd00::/8"),
            ("FD00:0::1", "fd00::1/128"),
        ] {
            assert_eq!(Cidr::parse(text).map(|it| it.to_string()), Ok(read.to_owned()), "{text}");
        }
        for (text, words) in [
            ("0.0.0.0/0", "everybody"),
            ("::/0", "everybody"),
            ("128.0.0.0/1", "everybody"),
            ("10.0.0.0/7", "everybody"),
            ("10.1.2.3/8", "--direct-cidrs 10.0.0.0/8"),
            ("fd00::1/8", "--direct-cidrs fd00::/8"),
            ("::ffff:10.0.0.1", "IPv6's clothes"),
            ("", "neither"),
            ("10.0.0.0/33", "neither"),
            ("10.0.0.0/", "neither"),
            ("10.0.0.0/+8", "neither"),
            ("10.0.0.0/08", "neither"),
            ("10.0.0.0/8/8", "neither"),
            ("10.0.0/8", "neither"),
            ("host.example.com", "neither"),
        ] {
            let error = Cidr::parse(text).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("hint: --direct-cidrs"), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_is_in_a_block_by_its_first_bits() {
        for (block, ip, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.2/31", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.2", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "10.0.0.1", false),
        ] {
            assert_eq!(Cidr::parse(block).unwrap().contains(ip.parse().unwrap()), expected, "{ip} in {block}");
        }
    }
}

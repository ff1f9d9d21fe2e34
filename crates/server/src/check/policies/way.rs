//! Who dials a notebook's sshd, in the words of policies, and what became of the question whether they let it.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Labels of an object.
pub(super) type Labels = BTreeMap<String, String>;

/// How sure it is that something matches. The lesser is "and", the greater is "or".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sure {
    No,
    Unknown,
    Yes,
}

impl Sure {
    pub(super) fn any(all: impl Iterator<Item = Self>) -> Self {
        all.max().unwrap_or(Self::No)
    }

    pub(super) fn all(all: impl Iterator<Item = Self>) -> Self {
        all.min().unwrap_or(Self::Yes)
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }
}

impl From<bool> for Sure {
    fn from(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }
}

/// One Pod of Fairlead, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    pub(super) namespace: String,
    pub(super) namespace_labels: Option<Labels>,
    pub(super) labels: Option<Labels>,
    pub(super) ip: Option<IpAddr>,
}

/// What policies say to all of Fairlead's Pods together: the worst is the greatest. With the policies that say so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// None applies.
    Untouched,
    /// They let it through.
    Open,
    /// What they say depends on what is not known here.
    Unknown(Vec<String>),
    /// Some apply, and none of them opens the port.
    Closed(Vec<String>),
    /// These forbid it, whatever others open.
    Denied(Vec<String>),
}

/// Whether an address is in a block such as `10.0.0.0/8`, or is the one that it names.
pub(super) fn in_block(ip: Option<IpAddr>, block: &str) -> Sure {
    let (base, length) = match block.split_once('/') {
        Some((base, length)) => (base, Some(length)),
        None => (block, None),
    };
    let (Some(ip), Ok(base)) = (ip, base.parse()) else { return Sure::Unknown };
    let ((ip, width), (base, base_width)) = (bits(ip), bits(base));
    match length.map_or(Ok(base_width), str::parse) {
        Ok(_) if width != base_width => Sure::No,
        // A shift by all bits is none: every address is in a block of length 0.
        Ok(length) if length <= width => ((ip ^ base).checked_shr(width - length).unwrap_or(0) == 0).into(),
        _ => Sure::Unknown,
    }
}

fn bits(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u32::from(ip).into(), 32),
        IpAddr::V6(ip) => (ip.into(), 128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_block_by_its_first_bits() {
        for (ip, block, expected) in [
            ("10.1.2.3", "10.0.0.0/8", Sure::Yes),
            ("10.1.2.3", "10.1.2.3", Sure::Yes),
            ("10.1.2.3", "10.1.2.4", Sure::No),
            ("10.1.2.3", "10.1.2.2/31", Sure::Yes),
            ("10.1.2.3", "10.1.2.2/32", Sure::No),
            ("11.1.2.3", "10.0.0.0/8", Sure::No),
            ("10.1.2.3", "0.0.0.0/0", Sure::Yes),
            ("fd00::1", "::/0", Sure::Yes),
            ("fd00::1", "fd00::/64", Sure::Yes),
            ("fd00::1", "0.0.0.0/0", Sure::No),
            ("10.1.2.3", "10.0.0.0/33", Sure::Unknown),
            ("10.1.2.3", "ten/8", Sure::Unknown),
        ] {
            assert_eq!(in_block(ip.parse().ok(), block), expected, "{ip} in {block}");
        }
        assert_eq!(in_block(None, "0.0.0.0/0"), Sure::Unknown);
    }
}

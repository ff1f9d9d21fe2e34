//! Why a request was refused, and why a session ended: a word for records, a sentence for the person.

use fairlead_model::{Denied, Person};
use russh::ChannelOpenFailure;

/// Why a channel to a notebook was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not the host name of a notebook. Answered as to a stranger.
    NoName,
    /// By [`fairlead_model::access::decide`].
    Denied(Denied),
    /// Neither 2209 nor 22.
    Port,
    /// The key is claimed and not confirmed.
    Claimed,
    /// As many channels as a connection may have.
    TooMany,
    /// The gateway is shutting down.
    Draining,
    /// The Pod refused the connection.
    NoSshd,
    /// The Pod did not answer.
    Unreachable,
    /// Something accepted and said nothing.
    Silent,
    /// Something answered, and not as sshd does.
    NotSsh,
    /// Not a channel to a host at all: X11, agent, sockets, a way back.
    Kind,
}

/// Why a session or a whole connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// One of the two sides had enough.
    Closed,
    /// The client no longer answered.
    Vanished,
    /// The key is no longer this person's.
    KeyRemoved,
    /// The right is gone.
    Denied(Denied),
    /// The notebook has another Pod now.
    PodReplaced,
    /// Somebody asked for it on the page.
    Asked(Person),
    /// The gateway shut down.
    Drained,
    /// A claimed key stayed longer than `confirm` takes.
    ClaimTimeout,
    /// Too many refused targets.
    TooManyRefusals,
    /// Too many connections of this person.
    TooManyConnections,
    /// Something broke.
    Error(String),
}

impl Refusal {
    /// The word for logs, metrics and the audit trail.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::NoName => "no-name",
            Self::Denied(denied) => denied.word(),
            Self::Port => "port",
            Self::Claimed => "claimed-key",
            Self::TooMany => "too-many-channels",
            Self::Draining => "draining",
            Self::NoSshd => "no-sshd",
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::NotSsh => "not-ssh",
            Self::Kind => "kind",
        }
    }

    /// The answer to the client, in ASCII: OpenSSH prints nothing else.
    pub(super) fn answer(self) -> ChannelOpenFailure {
        let (code, reason) = match self {
            Self::NoName => (PROHIBITED, Denied::Stranger.told()),
            Self::Denied(denied) => (PROHIBITED, denied.told()),
            Self::Port => (PROHIBITED, "only port 2209 of a notebook is reached this way, which is its sshd"),
            Self::Claimed => (PROHIBITED, "this key is not confirmed yet: run `confirm CODE` on the gateway with it"),
            Self::TooMany => (SHORTAGE, "too many channels at once in this connection"),
            Self::Draining => (SHORTAGE, "the gateway is restarting: connect again"),
            Self::NoSshd => (FAILED, "no sshd in this notebook's image, or it is starting: try again in a moment"),
            Self::Unreachable => (FAILED, "the notebook's Pod does not answer: a network policy may close port 2209"),
            Self::Silent => (FAILED, "port 2209 of the notebook's Pod is open and says nothing: a mesh may hold it"),
            Self::NotSsh => (FAILED, "what answers on port 2209 of the notebook's Pod is no sshd"),
            Self::Kind => (PROHIBITED, "this gateway opens channels to notebooks and runs its own commands only"),
        };
        ChannelOpenFailure::Other { code, reason: reason.to_owned() }
    }
}

/// Codes of RFC 4254, 5.1: administratively prohibited, connect failed, resource shortage.
const PROHIBITED: u32 = 1;
const FAILED: u32 = 2;
const SHORTAGE: u32 = 4;

impl Ending {
    /// What the database and the audit trail get.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Denied(denied) => format!("denied: {}", denied.word()),
            Self::Error(what) => format!("error: {what}"),
            Self::Asked(by) => format!("ended by {by}"),
            other => other.word().to_owned(),
        }
    }

    /// The same for the log, which names nobody.
    pub(super) fn logged(&self) -> String {
        match self {
            Self::Asked(_) => self.word().to_owned(),
            other => other.reason(),
        }
    }

    /// One word, for metrics.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Vanished => "vanished",
            Self::KeyRemoved => "key-removed",
            Self::Denied(_) => "denied",
            Self::PodReplaced => "pod-replaced",
            Self::Asked(_) => "ended-by-request",
            Self::Drained => "drained",
            Self::ClaimTimeout => "claim-timeout",
            Self::TooManyRefusals => "too-many-refusals",
            Self::TooManyConnections => "full-person",
            Self::Error(_) => "error",
        }
    }

    /// The sentence for the person, in ASCII.
    pub(super) fn told(&self) -> &'static str {
        match self {
            Self::Closed | Self::Vanished | Self::Error(_) => "the connection has ended",
            Self::KeyRemoved => "the key you signed in with has been removed or has expired",
            Self::Denied(denied) => denied.told(),
            Self::PodReplaced => "the notebook has been restarted: connect again",
            Self::Asked(_) => "this session was ended on request",
            Self::Drained => "the gateway is restarting: connect again",
            Self::ClaimTimeout => "this key is not confirmed, and signs in for `confirm CODE` alone",
            Self::TooManyRefusals => "too many refused requests in this connection",
            Self::TooManyConnections => "too many connections at once",
        }
    }

    /// Whether somebody other than the two sides ended it.
    pub(super) const fn is_cut(&self) -> bool {
        !matches!(self, Self::Closed | Self::Vanished | Self::Error(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_answered_as_a_stranger_is() {
        let [a, b] = [Refusal::NoName, Refusal::Denied(Denied::Stranger)].map(Refusal::answer);
        assert_eq!((a.code(), a.description()), (b.code(), b.description()));
    }
}

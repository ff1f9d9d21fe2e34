//! How much strangers may use before they have signed in, and how much one person may use after.
//!
//! Everything here is counted when a connection is accepted, before a byte of it is read, so that a flood costs the
//! gateway an `accept` and a `close` a connection.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairlead_model::Person;

/// The limits. [`Limits::default`] says why each is what it is; tests set their own.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time from `accept` to a finished sign-in.
    pub sign_in: Duration,
    /// Bytes a client may send until then.
    pub sign_in_bytes: u64,
    /// Sign-in attempts of one connection; a key that is offered in vain is one.
    pub sign_in_attempts: usize,
    /// How long a connection lasts whose key is claimed and not confirmed.
    pub claimed: Duration,
    /// Connections in all.
    pub connections: usize,
    /// Connections that have not signed in, in all.
    pub waiting: usize,
    /// Connections that have not signed in, from one source.
    pub waiting_per_source: usize,
    /// Connections of one person.
    pub per_person: usize,
    /// Channels of one connection.
    pub channels: usize,
    /// Refused targets of one connection, after which it ends.
    pub refusals: usize,
    /// Time for a notebook's Pod to accept a connection.
    pub dial: Duration,
    /// Time for the sshd in it to say `SSH-`.
    pub greeting: Duration,
    /// How often a silent client is asked whether it is still there.
    pub keep_alive: Duration,
    /// How many such questions may stay without an answer.
    pub keep_alive_count: usize,
    /// How often the gateway says in the database that it lives, and what its sessions have carried.
    pub beat: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A sign-in takes well under a second; the rest is for a security key that waits to be touched.
            sign_in: Duration::from_secs(30),
            // Twenty offers and a signature with RSA keys of 8192 bits, the largest that are taken, are about 50 KiB with the
            // key exchange.
            sign_in_bytes: 128 * 1024,
            // Agents hold many keys, and OpenSSH offers all of them before it gives up.
            sign_in_attempts: 20,
            // `confirm CODE` is one command.
            claimed: Duration::from_mins(1),
            // About 62 KiB each when idle (measured, with the read buffer): 600 MiB.
            connections: 10_000,
            // A packet that is announced and never sent can cost 256 KiB: 128 MiB at most.
            waiting: 512,
            // An office behind one address signs in at the same time; at 0.4 ms of CPU each that is soon over.
            waiting_per_source: 50,
            // Editors open several for each window.
            per_person: 100,
            // OpenSSH's own MaxSessions.
            channels: 10,
            // A person who mistypes does so a few times; a browser behind `ssh -D` asks for hundreds of hosts.
            refusals: 100,
            // Pods are in the same cluster: a SYN that is lost is sent again after one and three seconds.
            dial: Duration::from_secs(5),
            // sshd answers in milliseconds, unless its Pod's CPU limit keeps it waiting.
            greeting: Duration::from_secs(5),
            // Three in 30 s each notice a lost laptop in two minutes, and survive a change of Wi-Fi.
            keep_alive: Duration::from_secs(30),
            keep_alive_count: 3,
            // After three that did not come another gateway counts it as lost.
            beat: Duration::from_secs(20),
        }
    }
}

/// Where a connection comes from: an IPv4 address, or a /64, which is what one IPv6 customer has at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

/// Counts connections.
#[derive(Debug)]
pub(super) struct Gate {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    waiting: usize,
    by_source: HashMap<Source, usize>,
    by_person: HashMap<Person, usize>,
}

/// A connection's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    gate: Arc<Gate>,
    taken: Taken,
}

#[derive(Debug)]
enum Taken {
    Waiting(Source),
    Person(Person),
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Waiting,
    Source,
    Person,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, counts: Mutex::default() })
    }

    /// A place for a connection that has not signed in.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr) -> Result<Seat, Full> {
        let source = Source::of(from);
        let mut counts = self.counts();
        if counts.all >= self.limits.connections {
            return Err(Full::All);
        }
        if counts.waiting >= self.limits.waiting {
            return Err(Full::Waiting);
        }
        let of_source = counts.by_source.entry(source).or_default();
        if *of_source >= self.limits.waiting_per_source {
            return Err(Full::Source);
        }
        *of_source += 1;
        counts.all += 1;
        counts.waiting += 1;
        Ok(Seat { gate: Arc::clone(self), taken: Taken::Waiting(source) })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Moves from those who wait to those of a person.
    pub(super) fn sign_in(&mut self, person: &Person) -> Result<(), Full> {
        let Taken::Waiting(source) = self.taken else { return Ok(()) };
        let mut counts = self.gate.counts();
        let of_person = counts.by_person.entry(person.clone()).or_default();
        if *of_person >= self.gate.limits.per_person {
            return Err(Full::Person);
        }
        *of_person += 1;
        counts.waiting -= 1;
        less(&mut counts.by_source, &source);
        drop(counts);
        self.taken = Taken::Person(person.clone());
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.gate.counts();
        counts.all -= 1;
        match &self.taken {
            Taken::Waiting(source) => {
                counts.waiting -= 1;
                less(&mut counts.by_source, source);
            }
            Taken::Person(person) => less(&mut counts.by_person, person),
        }
    }
}

impl Source {
    pub(super) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            ip @ IpAddr::V4(_) => Self(ip),
        }
    }
}

impl Full {
    /// The word for logs and metrics.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::All => "full",
            Self::Waiting => "full-waiting",
            Self::Source => "full-source",
            Self::Person => "full-person",
        }
    }
}

/// One less, and no entry for none: the map may not grow by every address that ever came.
fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Arc<Gate> {
        Gate::new(Limits { connections: 6, waiting: 5, waiting_per_source: 2, per_person: 1, ..Limits::default() })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_source_takes_no_place_of_another() {
        let gate = gate();
        let _a = [gate.enter(ip("10.0.0.1")).unwrap(), gate.enter(ip("::ffff:10.0.0.1")).unwrap()];
        assert_eq!(gate.enter(ip("10.0.0.1")).err(), Some(Full::Source));
        let _b = [gate.enter(ip("2001:db8::1")).unwrap(), gate.enter(ip("2001:db8::ffff:1")).unwrap()];
        assert_eq!(gate.enter(ip("2001:db8::2")).err(), Some(Full::Source));
        let mut signed_in = gate.enter(ip("2001:db8:0:1::1")).unwrap();
        assert_eq!(gate.enter(ip("10.0.0.2")).err(), Some(Full::Waiting));
        signed_in.sign_in(&Person::parse("alice@example.com").unwrap()).unwrap();
        let _last = gate.enter(ip("10.0.0.2")).unwrap();
        assert_eq!(gate.enter(ip("10.0.0.3")).err(), Some(Full::All));
    }

    #[test]
    fn a_seat_is_free_again_when_its_connection_ends_and_leaves_nothing_behind() {
        let gate = gate();
        let alice = Person::parse("alice@example.com").unwrap();
        let mut seat = gate.enter(ip("10.0.0.1")).unwrap();
        seat.sign_in(&alice).unwrap();
        let mut second = gate.enter(ip("10.0.0.1")).unwrap();
        assert_eq!(second.sign_in(&alice), Err(Full::Person));
        drop((seat, second));
        let mut again = gate.enter(ip("10.0.0.1")).unwrap();
        again.sign_in(&alice).unwrap();
        drop(again);
        let counts = gate.counts();
        assert_eq!((counts.all, counts.waiting, counts.by_source.len(), counts.by_person.len()), (0, 0, 0, 0));
    }
}

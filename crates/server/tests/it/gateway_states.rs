//! Every order in which a client can say what belongs to a sign-in, and what does not belong there at all: only one
//! signature by one key over this very request is one.

use crate::full::full;
use crate::gateway_bed::{Bed, person};
use crate::gateway_person::Client;
use crate::wire::{Message, Wire};

const FAILURE: u8 = 51;
const SUCCESS: u8 = 52;
const KEY_OK: u8 = 60;

/// A stream of numbers that is the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % end
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Somebody's key, and whom the gateway knows it as.
struct Holder {
    client: Client,
    is: Option<&'static str>,
    is_claimed: bool,
}

/// alice's and dave's keys count, one is claimed, and one is nobody's.
async fn holders(bed: &Bed) -> Vec<Holder> {
    let claimed = bed.stranger("claimed");
    let now = fairlead_server::clock::now();
    let key = claimed.public();
    bed.store.claim_key(&person("alice"), &key, "", now).await.expect("a claim");
    let mut worlds = bed.worlds.clone();
    assert!(worlds.wait_for(|world| world.is_claimed(key.fingerprint(), now)).await.is_ok());
    let holder = |client, is| Holder { client, is, is_claimed: false };
    vec![
        holder(bed.person("alice").await, Some("alice@example.com")),
        holder(bed.person("dave").await, Some("dave@example.com")),
        holder(bed.stranger("mallory"), None),
        Holder { is_claimed: true, ..holder(claimed, None) },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn in_whatever_order_names_methods_and_keys_come_the_one_who_signed_this_request_is_in() {
    let bed = Bed::start().await;
    let holders = holders(&bed).await;
    let users = ["alice@example.com", "confirm", "confirm", ""];
    let (mut dice, mut in_as) = (Dice(0x5eed_f00d_1234_5678), [0; 4]);
    for round in 0..if full() { 3000 } else { 200 } {
        let mut wire = Wire::ready(bed.address).await;
        let mut said = Vec::new();
        // Twenty refusals are the limit of one connection.
        for _ in 0..15 {
            let user = *dice.one(&users);
            let (owner, signer) = (dice.below(4), dice.below(4));
            let (key, signs) = (&holders[owner], &holders[signer]);
            let taken = key.is.is_some() || (key.is_claimed && user == "confirm");
            let request = Message::key(user, true, &key.client);
            let right = wire.session.clone();
            let wrong_session = vec![7; right.len()];
            let (what, message, expected) = match dice.below(9) {
                0 => ("none", Message::sign_in(user, "none"), FAILURE),
                1 => ("password", Message::sign_in(user, "password").byte(0).text("secret"), FAILURE),
                2 => ("keyboard", Message::sign_in(user, "keyboard-interactive").text("").text(""), FAILURE),
                3 => ("an answer to no question", Message::new(61).number(1).text("secret"), FAILURE),
                4 | 5 => {
                    let answer = if taken { KEY_OK } else { FAILURE };
                    ("offer", Message::key(user, false, &key.client), answer)
                }
                6 => {
                    let over = Message::key(dice.one::<&str>(&users), true, &signs.client);
                    let same = over.0 == request.0;
                    let expected = if taken && same && owner == signer { SUCCESS } else { FAILURE };
                    ("signed over another", request.signed(&right, &over, &signs.client), expected)
                }
                7 => {
                    let message = request.clone().signed(&wrong_session, &request, &key.client);
                    ("signed for another connection", message, FAILURE)
                }
                _ => {
                    let expected = if taken && owner == signer { SUCCESS } else { FAILURE };
                    ("signed", request.clone().signed(&right, &request, &signs.client), expected)
                }
            };
            said.push((what, user, owner, signer));
            let answer = wire.asks(message).await;
            assert_eq!(answer, expected, "round {round}: {said:?}");
            if answer == SUCCESS {
                let told = wire.whoami(0).await;
                match key.is {
                    Some(name) => assert_eq!(told, name, "round {round}: {said:?}"),
                    None => assert!(told.contains("is not confirmed"), "round {round}: {told} after {said:?}"),
                }
                in_as[owner] += 1;
                break;
            }
        }
    }
    assert!(in_as[0] > 20 && in_as[1] > 20 && in_as[2] == 0 && in_as[3] > 3, "{in_as:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_after_a_sign_in_is_nothing_before_it() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let window = |message: Message| message.number(0).number(1 << 20).number(1 << 20);
    let early = [
        // That the server would say.
        Message::new(52),
        Message::new(60).text("ssh-ed25519").text("x"),
        Message::new(6).text("ssh-connection"),
        Message::new(5).text("ssh-connection"),
        window(Message::new(90).text("session")),
        window(Message::new(90).text("direct-tcpip"))
            .text("bert.team-a.notebook")
            .number(2209)
            .text("127.0.0.1")
            .number(1),
        Message::new(80).text("tcpip-forward").byte(1).text("0.0.0.0").number(8080),
        Message::new(80).text("streamlocal-forward@openssh.com").byte(1).text("/tmp/fairlead.sock"),
        Message::new(80).text("keepalive@openssh.com").byte(1),
        Message::new(98).number(0).text("exec").byte(1).text("whoami"),
        Message::new(98).number(0).text("env").byte(1).text("LD_PRELOAD").text("/tmp/x.so"),
        Message::new(94).number(0).text("whoami\n"),
        Message::new(93).number(0).number(1 << 20),
        Message::new(97).number(0),
    ];
    for before_service in [true, false] {
        let mut wire = if before_service { Wire::connect(bed.address).await } else { Wire::ready(bed.address).await };
        for message in &early {
            wire.say(message.clone()).await;
        }
        if before_service {
            wire.say(Message::new(5).text("ssh-userauth")).await;
            assert_eq!((wire.hear().await.map(|m| m[0]), wire.hear().await.map(|m| m[0])), (Some(6), Some(53)));
        }
        // Nothing of it was answered: the next that is heard belongs to this offer. And nothing of it was kept.
        assert_eq!(wire.asks(Message::key("alice", false, &alice)).await, KEY_OK, "{before_service}");
        let request = Message::key("alice", true, &alice);
        let signed = request.clone().signed(&wire.session, &request, &alice);
        assert_eq!(wire.asks(signed).await, SUCCESS);
        assert_eq!(wire.whoami(0).await, "alice@example.com");
    }
    let sessions = bed.store.list_sessions(None, 10).await.expect("sessions");
    assert!(sessions.is_empty(), "a channel was opened before the sign-in: {sessions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_cannot_become_another() {
    let bed = Bed::start().await;
    let (alice, dave) = (bed.person("alice").await, bed.person("dave").await);
    let mut wire = Wire::signed_in(bed.address, &dave).await;
    let request = Message::key("alice", true, &alice);
    // Both keys are this client's: also then a connection is one person's, from its sign-in to its end.
    wire.say(request.clone().signed(&wire.session, &request, &alice)).await;
    wire.say(Message::new(5).text("ssh-userauth")).await;
    let whoami = wire.whoami(0).await;
    assert_eq!(whoami, "dave@example.com");
}

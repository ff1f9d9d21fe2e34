//! Public keys: listed, added, removed. How a claimed one comes to count is in [`claims`].

mod claims;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fairlead_model::world::Key;
use fairlead_model::{Fact, Fingerprint, Person, PublicKey, Time};
use sqlx::AnyConnection;

use super::{Store, Topic};

pub use claims::{CLAIM_SECONDS, Claim, ClaimOptions, Confirmed, Needs};

/// How many keys one person may have, claims included.
pub const MAX_KEYS: i64 = 50;

/// A key as people see it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Whose.
    pub person: Person,
    /// The key.
    pub public: PublicKey,
    /// The comment it came with, cleaned.
    pub comment: String,
    /// When it was added.
    pub added: Time,
    /// When it came to count; `None` for a claim.
    pub confirmed: Option<Time>,
    /// When a claim ends, or when a confirmed key stops counting; `None` for never.
    pub expires: Option<Time>,
    /// Its last session or sign-in, where there was one.
    pub used: Option<Time>,
    /// What a claim still waits for; nothing once it is confirmed.
    pub needs: Needs,
}

/// Why a key was not taken, or not removed.
#[derive(Debug, thiserror::Error)]
pub enum KeyRefused {
    /// Confirmed already, for somebody: one key is one person.
    #[error("this key is registered already")]
    Taken,
    /// More than 50 keys, claims included.
    #[error("you have 50 keys, which is the limit: remove one first")]
    TooMany,
    /// No running claim has this code together with this key, nor does the key that signed in approve one.
    #[error("this code does not belong to this key, or it has expired: add the key again")]
    BadCode,
    /// The last key that counts, of somebody who has to keep one.
    #[error("this is the last key that counts\nhint: ssh fairlead-gateway keys remove FINGERPRINT")]
    LastKey,
    /// The database.
    #[error(transparent)]
    Store(#[from] anyhow::Error),
}

impl KeyRefused {
    /// The word for JSON and messages' keys.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::TooMany => "too-many",
            Self::BadCode => "bad-code",
            Self::LastKey => "last-key",
            Self::Store(_) => "broken",
        }
    }
}

impl Store {
    /// Adds a key that counts at once, for admins.
    pub async fn add_key(&self, person: &Person, key: &PublicKey, comment: &str, now: Time) -> Result<(), KeyRefused> {
        self.add_key_until(person, key, comment, None, now).await
    }

    /// The same for a key that stops counting at `ends`.
    pub async fn add_key_until(
        &self,
        person: &Person,
        key: &PublicKey,
        comment: &str,
        ends: Option<Time>,
        now: Time,
    ) -> Result<(), KeyRefused> {
        self.put_key(NewKey { person, key, comment, ends, proof: Proof::Admin }, now).await.map(drop)
    }

    /// Removes a person's key, claimed or confirmed; whether there was one.
    pub async fn remove_key(&self, person: &Person, key: &Fingerprint) -> Result<bool> {
        Ok(self.remove_key_with(person, key, None).await?)
    }

    /// The same; with `keep_last`, which is the time, not the person's last key that counts then. On an origin that
    /// notebooks share, a script could otherwise keep whoever looks at the page out of everything.
    pub async fn remove_key_with(
        &self,
        person: &Person,
        key: &Fingerprint,
        keep_last: Option<Time>,
    ) -> Result<bool, KeyRefused> {
        let remove = async |conn: &mut AnyConnection| {
            if let Some(now) = keep_last {
                let count = "select fingerprint from keys
                    where person = $1 and confirmed is not null and (ends is null or ends > $2)";
                let count = sqlx::query_scalar::<_, String>(count).bind(person.as_str()).bind(now.0);
                if count.fetch_all(&mut *conn).await? == [key.as_str()] {
                    return Ok(Err(KeyRefused::LastKey));
                }
            }
            let sql = "delete from keys where person = $1 and fingerprint = $2";
            let done = sqlx::query(sql).bind(person.as_str()).bind(key.as_str()).execute(&mut *conn).await?;
            Ok(Ok(done.rows_affected() > 0))
        };
        self.change_keys(remove).await.context("removing a key")?
    }

    /// All keys, also expired ones, and running claims, of one person or of everybody, oldest first.
    pub async fn list_keys(&self, person: Option<&Person>, now: Time) -> Result<Vec<KeyRow>> {
        let rows = self.call(async |conn| rows(conn, person, now).await).await.context("reading keys")?;
        Ok(rows.iter().filter_map(Row::parse).collect())
    }

    /// [`Fact::Keys`] as of now, without what has expired. A row that no longer parses is logged and skipped.
    pub async fn key_fact(&self, now: Time) -> Result<Fact> {
        let rows = self.call(async |conn| rows(conn, None, now).await).await.context("reading keys")?;
        let (mut keys, mut claims) = (Vec::new(), BTreeMap::<Fingerprint, Time>::new());
        for key in rows.iter().filter_map(Row::parse) {
            if key.expires.is_some_and(|end| end <= now) {
                continue;
            }
            if key.confirmed.is_some() {
                keys.push(Key { person: key.person, public: key.public });
            } else {
                let end = claims.entry(key.public.fingerprint().clone()).or_default();
                *end = (*end).max(key.expires.unwrap_or_default());
            }
        }
        Ok(Fact::Keys(keys, claims))
    }

    /// The next moment at which a confirmed key stops counting, where there is one.
    pub async fn next_key_end(&self, now: Time) -> Result<Option<Time>> {
        let sql = "select min(ends) from keys where confirmed is not null and ends > $1";
        let next = async |conn: &mut AnyConnection| {
            sqlx::query_scalar::<_, Option<i64>>(sql).bind(now.0).fetch_one(conn).await
        };
        Ok(self.call(next).await.context("reading when keys end")?.map(Time))
    }

    async fn put_key(&self, new: NewKey<'_>, now: Time) -> Result<Needs, KeyRefused> {
        let (person, fingerprint) = (new.person.as_str(), new.key.fingerprint());
        let put = async |conn: &mut AnyConnection| {
            if is_confirmed(conn, fingerprint).await? {
                return Ok(Err(KeyRefused::Taken));
            }
            let forget = "delete from keys where person = $1 and confirmed is null and expires <= $2";
            sqlx::query(forget).bind(person).bind(now.0).execute(&mut *conn).await?;
            let others = "select count(*) from keys where person = $1 and fingerprint <> $2";
            let others = sqlx::query_scalar::<_, i64>(others).bind(person).bind(fingerprint.as_str());
            if others.fetch_one(&mut *conn).await? >= MAX_KEYS {
                return Ok(Err(KeyRefused::TooMany));
            }
            let (confirmed, hash, expires, older) = match &new.proof {
                Proof::Admin => {
                    claims::end_others(conn, person, fingerprint).await?;
                    claims::has_a_key(conn, person, now).await?;
                    (Some(now.0), None, None, 0)
                }
                Proof::Code { hash, expires, shared_origin } => {
                    let older = claims::older(conn, person, *shared_origin).await?;
                    (None, Some(hash.as_str()), Some(expires.0), older)
                }
            };
            let put = "insert into keys
                (person, fingerprint, line, comment, added, confirmed, code_hash, expires, ends, older)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                on conflict (person, fingerprint) do update set comment = excluded.comment, added = excluded.added,
                confirmed = excluded.confirmed, code_hash = excluded.code_hash, expires = excluded.expires,
                ends = excluded.ends, older = excluded.older, proved = null";
            let put = sqlx::query(put).bind(person).bind(fingerprint.as_str()).bind(new.key.line());
            let put = put.bind(new.comment).bind(now.0).bind(confirmed).bind(hash).bind(expires);
            put.bind(new.ends.map(|ends| ends.0)).bind(older).execute(&mut *conn).await?;
            Ok(Ok(Needs::of(confirmed, None, older)))
        };
        self.change_keys(put).await.context("writing a key")?
    }

    /// See [`Store::change`].
    async fn change_keys<T>(
        &self,
        work: impl AsyncFnOnce(&mut AnyConnection) -> sqlx::Result<Result<T, KeyRefused>>,
    ) -> sqlx::Result<Result<T, KeyRefused>> {
        self.change(Topic::Keys, work).await
    }
}

/// A key that is to be written.
struct NewKey<'a> {
    person: &'a Person,
    key: &'a PublicKey,
    comment: &'a str,
    ends: Option<Time>,
    proof: Proof,
}

/// What makes a key count, now or later.
enum Proof {
    /// An admin's word.
    Admin,
    /// A code, of which this is the hash, until then.
    Code { hash: String, expires: Time, shared_origin: bool },
}

#[derive(sqlx::FromRow)]
struct Row {
    person: String,
    line: String,
    comment: String,
    added: i64,
    confirmed: Option<i64>,
    expires: Option<i64>,
    ends: Option<i64>,
    used: Option<i64>,
    proved: Option<i64>,
    older: i64,
}

impl Row {
    fn parse(&self) -> Option<KeyRow> {
        let parsed = || -> Result<KeyRow> {
            Ok(KeyRow {
                person: Person::parse(&self.person)?,
                public: PublicKey::parse(&self.line)?.0,
                comment: self.comment.clone(),
                added: Time(self.added),
                confirmed: self.confirmed.map(Time),
                expires: self.confirmed.map_or(self.expires, |_| self.ends).map(Time),
                used: self.used.map(Time),
                needs: Needs::of(self.confirmed, self.proved, self.older),
            })
        };
        parsed()
            .inspect_err(|error| tracing::warn!(%error, "a key in the database does not parse and is left out"))
            .ok()
    }
}

/// Confirmed keys, and claims that still run.
async fn rows(conn: &mut AnyConnection, person: Option<&Person>, now: Time) -> sqlx::Result<Vec<Row>> {
    let sql = "select person, line, comment, added, confirmed, expires, ends, used, proved, older from keys
        where ($1 = '' or person = $1) and (confirmed is not null or expires > $2) order by added, person, fingerprint";
    sqlx::query_as(sql).bind(person.map_or("", Person::as_str)).bind(now.0).fetch_all(conn).await
}

async fn is_confirmed(conn: &mut AnyConnection, key: &Fingerprint) -> sqlx::Result<bool> {
    let sql = "select count(*) from keys where fingerprint = $1 and confirmed is not null";
    Ok(sqlx::query_scalar::<_, i64>(sql).bind(key.as_str()).fetch_one(conn).await? > 0)
}

/// Notes that a person's key was used then, unless it was used later. Not a change that anybody waits for.
pub(super) async fn note_used(conn: &mut AnyConnection, person: &str, key: &str, at: Time) -> sqlx::Result<()> {
    let sql = "update keys set used = $1
        where person = $2 and fingerprint = $3 and confirmed is not null and (used is null or used < $1)";
    sqlx::query(sql).bind(at.0).bind(person).bind(key).execute(conn).await.map(drop)
}

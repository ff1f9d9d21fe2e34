//! Public keys: claimed, confirmed, removed.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use fairlead_model::world::Key;
use fairlead_model::{Fact, Fingerprint, Person, PublicKey, Time};
use sqlx::{AnyConnection, Connection};

use super::{Store, changes};
use crate::random;

/// A claim runs this long, in seconds.
pub const CLAIM_SECONDS: i64 = 3600;
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
    /// When its holder proved it; `None` for a claim.
    pub confirmed: Option<Time>,
}

/// A claimed key waits for `confirm CODE`, signed in with that very key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What to type: 8 characters without look-alikes. Only its hash is stored.
    pub code: String,
    /// When it ends.
    pub expires: Time,
}

/// Why a key was not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeyRefused {
    /// Confirmed already, for somebody: one key is one person.
    #[error("this key is registered already")]
    Taken,
    /// More than 50 keys, claims included.
    #[error("you have 50 keys, which is the limit: remove one first")]
    TooMany,
    /// No running claim has this code together with this key.
    #[error("this code does not belong to the key you signed in with, or it has expired: add the key again")]
    BadCode,
    /// The database.
    #[error(transparent)]
    Store(#[from] anyhow::Error),
}

impl Store {
    /// Claims a key for a person. A new claim of the same key by the same person replaces the old one.
    pub async fn claim_key(
        &self,
        person: &Person,
        key: &PublicKey,
        comment: &str,
        now: Time,
    ) -> Result<Claim, KeyRefused> {
        let claim = Claim { code: random::code()?, expires: now.plus_seconds(CLAIM_SECONDS) };
        let proof = Proof::Code(code_hash(&claim.code, key.fingerprint()), claim.expires);
        self.put_key(person, key, comment, now, proof).await?;
        Ok(claim)
    }

    /// Makes a claim count, by the code and the key its holder signed in with. Ends all other claims of that key.
    pub async fn confirm_key(&self, code: &str, key: &Fingerprint, now: Time) -> Result<Person, KeyRefused> {
        let hash = code_hash(code, key);
        let confirm = async |conn: &mut AnyConnection| {
            let claimed = "select person from keys
                where fingerprint = $1 and code_hash = $2 and confirmed is null and expires > $3";
            let claimed = sqlx::query_scalar::<_, String>(claimed).bind(key.as_str()).bind(hash.as_str()).bind(now.0);
            let Some::<String>(person) = claimed.fetch_optional(&mut *conn).await? else {
                return Ok(Err(KeyRefused::BadCode));
            };
            if is_confirmed(conn, key).await? {
                return Ok(Err(KeyRefused::Taken));
            }
            end_other_claims(conn, &person, key).await?;
            let confirm = "update keys set confirmed = $1, code_hash = null, expires = null
                where person = $2 and fingerprint = $3";
            sqlx::query(confirm).bind(now.0).bind(person.as_str()).bind(key.as_str()).execute(&mut *conn).await?;
            Ok(Ok(person))
        };
        let person = self.change_keys(confirm).await.context("confirming a key")??;
        Person::parse(&person).map_err(|error| KeyRefused::Store(error.into()))
    }

    /// Adds a key that counts at once, for admins.
    pub async fn add_key(&self, person: &Person, key: &PublicKey, comment: &str, now: Time) -> Result<(), KeyRefused> {
        self.put_key(person, key, comment, now, Proof::Admin).await
    }

    /// Removes a person's key, claimed or confirmed; whether there was one.
    pub async fn remove_key(&self, person: &Person, key: &Fingerprint) -> Result<bool> {
        let remove = async |conn: &mut AnyConnection| {
            let sql = "delete from keys where person = $1 and fingerprint = $2";
            let done = sqlx::query(sql).bind(person.as_str()).bind(key.as_str()).execute(&mut *conn).await?;
            Ok(Ok(done.rows_affected() > 0))
        };
        Ok(self.change_keys(remove).await.context("removing a key")??)
    }

    /// All keys and running claims, of one person or of everybody, oldest first.
    pub async fn list_keys(&self, person: Option<&Person>, now: Time) -> Result<Vec<KeyRow>> {
        let rows = self.call(async |conn| rows(conn, person, now).await).await.context("reading keys")?;
        Ok(rows.iter().filter_map(Row::parse).collect())
    }

    /// [`Fact::Keys`] as of now. Expired claims are left out. A row that no longer parses is logged and skipped.
    pub async fn key_fact(&self, now: Time) -> Result<Fact> {
        let rows = self.call(async |conn| rows(conn, None, now).await).await.context("reading keys")?;
        let (mut keys, mut claims) = (Vec::new(), BTreeMap::<Fingerprint, Time>::new());
        for row in &rows {
            let Some(key) = row.parse() else { continue };
            match row.expires {
                None => keys.push(Key { person: key.person, public: key.public }),
                Some(expires) => {
                    let end = claims.entry(key.public.fingerprint().clone()).or_default();
                    *end = (*end).max(Time(expires));
                }
            }
        }
        Ok(Fact::Keys(keys, claims))
    }

    async fn put_key(
        &self,
        person: &Person,
        key: &PublicKey,
        comment: &str,
        now: Time,
        proof: Proof,
    ) -> Result<(), KeyRefused> {
        let (confirmed, hash, expires) = match &proof {
            Proof::Admin => (Some(now.0), None, None),
            Proof::Code(hash, expires) => (None, Some(hash.as_str()), Some(expires.0)),
        };
        let fingerprint = key.fingerprint();
        let put = async |conn: &mut AnyConnection| {
            if is_confirmed(conn, fingerprint).await? {
                return Ok(Err(KeyRefused::Taken));
            }
            let forget = "delete from keys where person = $1 and confirmed is null and expires <= $2";
            sqlx::query(forget).bind(person.as_str()).bind(now.0).execute(&mut *conn).await?;
            let others = "select count(*) from keys where person = $1 and fingerprint <> $2";
            let others = sqlx::query_scalar::<_, i64>(others).bind(person.as_str()).bind(fingerprint.as_str());
            if others.fetch_one(&mut *conn).await? >= MAX_KEYS {
                return Ok(Err(KeyRefused::TooMany));
            }
            if confirmed.is_some() {
                end_other_claims(conn, person.as_str(), fingerprint).await?;
            }
            let put = "insert into keys (person, fingerprint, line, comment, added, confirmed, code_hash, expires)
                values ($1, $2, $3, $4, $5, $6, $7, $8)
                on conflict (person, fingerprint) do update set comment = excluded.comment, added = excluded.added,
                confirmed = excluded.confirmed, code_hash = excluded.code_hash, expires = excluded.expires";
            let put = sqlx::query(put).bind(person.as_str()).bind(fingerprint.as_str()).bind(key.line());
            let put = put.bind(comment).bind(now.0).bind(confirmed).bind(hash).bind(expires);
            put.execute(&mut *conn).await?;
            Ok(Ok(()))
        };
        self.change_keys(put).await.context("writing a key")?
    }

    /// Changes keys in one transaction, one at a time among everybody, and lets everybody know. A refusal changes
    /// nothing.
    async fn change_keys<T>(
        &self,
        work: impl AsyncFnOnce(&mut AnyConnection) -> sqlx::Result<Result<T, KeyRefused>>,
    ) -> sqlx::Result<Result<T, KeyRefused>> {
        let kind = self.inner.kind;
        let (done, revision) = self
            .call(async |conn| {
                let mut transaction = conn.begin_with(self.begin()).await?;
                let revision = changes::advance(&mut transaction, kind).await?;
                match work(&mut transaction).await? {
                    Ok(done) => transaction.commit().await.map(|()| (Ok(done), Some(revision))),
                    Err(refused) => transaction.rollback().await.map(|()| (Err(refused), None)),
                }
            })
            .await?;
        if let Some(revision) = revision {
            changes::set(&self.inner.revision, revision);
        }
        Ok(done)
    }
}

/// What makes a key count, now or later.
enum Proof {
    /// An admin's word.
    Admin,
    /// A code, of which this is the hash, until then.
    Code(String, Time),
}

#[derive(sqlx::FromRow)]
struct Row {
    person: String,
    line: String,
    comment: String,
    added: i64,
    confirmed: Option<i64>,
    expires: Option<i64>,
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
            })
        };
        parsed()
            .inspect_err(|error| tracing::warn!(%error, "a key in the database does not parse and is left out"))
            .ok()
    }
}

/// Confirmed keys, and claims that still run.
async fn rows(conn: &mut AnyConnection, person: Option<&Person>, now: Time) -> sqlx::Result<Vec<Row>> {
    let sql = "select person, line, comment, added, confirmed, expires from keys
        where ($1 = '' or person = $1) and (confirmed is not null or expires > $2) order by added, person, fingerprint";
    sqlx::query_as(sql).bind(person.map_or("", Person::as_str)).bind(now.0).fetch_all(conn).await
}

async fn is_confirmed(conn: &mut AnyConnection, key: &Fingerprint) -> sqlx::Result<bool> {
    let sql = "select count(*) from keys where fingerprint = $1 and confirmed is not null";
    Ok(sqlx::query_scalar::<_, i64>(sql).bind(key.as_str()).fetch_one(conn).await? > 0)
}

async fn end_other_claims(conn: &mut AnyConnection, person: &str, key: &Fingerprint) -> sqlx::Result<()> {
    let sql = "delete from keys where fingerprint = $1 and person <> $2 and confirmed is null";
    sqlx::query(sql).bind(key.as_str()).bind(person).execute(conn).await.map(drop)
}

/// What of a code is stored: only together with its key it can be looked for. However it was typed, it is the same.
fn code_hash(code: &str, key: &Fingerprint) -> String {
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    random::hex(digest(&SHA256, format!("{key} {}", code.to_ascii_uppercase()).as_bytes()).as_ref())
}

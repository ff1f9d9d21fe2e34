//! Claims: keys that somebody wants to have and that do not count yet. The key itself has to sign, with a code that was
//! shown to the claimer; and where notebooks share the page's origin, and could claim in a visitor's name, one of the
//! person's older keys has to sign too.

use anyhow::Context;
use aws_lc_rs::digest::{SHA256, digest};
use fairlead_model::{Fingerprint, Person, PublicKey, Time};
use sqlx::AnyConnection;

use super::{KeyRefused, KeyRow, NewKey, Proof, is_confirmed};
use crate::random;
use crate::store::Store;

/// A claim runs this long, in seconds.
pub const CLAIM_SECONDS: i64 = 3600;

/// A claimed key waits for `confirm CODE`, signed in with that very key, and perhaps with an older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What to type: 8 characters without look-alikes. Only its hash is stored.
    pub code: String,
    /// When it ends.
    pub expires: Time,
    /// What it waits for.
    pub needs: Needs,
}

/// What a claim still waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Needs {
    /// A `confirm` with the key itself.
    pub own: bool,
    /// A `confirm` with an older key of the same person.
    pub older: bool,
}

/// How a key is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClaimOptions {
    /// When the key stops counting; `None` for never.
    pub ends: Option<Time>,
    /// Whether a notebook might have asked in the person's name: then an older key has to approve, once there was one.
    pub shared_origin: bool,
}

/// What a `confirm` led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmed {
    /// The claimed key is now this person's.
    Counts(Person, Fingerprint),
    /// The claim waits for something else.
    StillNeeds(Person, Fingerprint, Needs),
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
        self.claim_key_with(person, key, comment, ClaimOptions::default(), now).await
    }

    /// The same with options.
    pub async fn claim_key_with(
        &self,
        person: &Person,
        key: &PublicKey,
        comment: &str,
        options: ClaimOptions,
        now: Time,
    ) -> Result<Claim, KeyRefused> {
        let ClaimOptions { ends, shared_origin } = options;
        let code = random::code()?;
        let expires = now.plus_seconds(CLAIM_SECONDS);
        // A key that has ended by then is not to be confirmed: it would keep its name and never count.
        let expires = ends.map_or(expires, |ends| ends.min(expires));
        let proof = Proof::Code { hash: code_hash(&code, key.fingerprint().as_str()), expires, shared_origin };
        let needs = self.put_key(NewKey { person, key, comment, ends, proof }, now).await?;
        Ok(Claim { code, expires, needs })
    }

    /// Takes a claim's code, signed in with the claimed key itself.
    pub async fn confirm_key(&self, code: &str, key: &Fingerprint, now: Time) -> Result<Confirmed, KeyRefused> {
        self.proceed(now, async |conn| claimed(conn, code, key, now).await).await
    }

    /// The person's claim that has this code, for them to see which key it is of. With the confirmed key that they
    /// signed in with; nothing is approved by it.
    pub async fn claim_by_code(
        &self,
        code: &str,
        with: &Fingerprint,
        person: &Person,
        now: Time,
    ) -> Result<KeyRow, KeyRefused> {
        let find = async |conn: &mut AnyConnection| {
            if !counts(conn, person, with, now).await? {
                return Ok(None);
            }
            let sql = "select fingerprint, code_hash from keys
                where person = $1 and confirmed is null and code_hash is not null and expires > $2";
            let claims = sqlx::query_as::<_, (String, String)>(sql).bind(person.as_str()).bind(now.0);
            let claims = claims.fetch_all(&mut *conn).await?;
            // The hash is of code and key: each claim is asked.
            let meant = claims.into_iter().find(|(key, hash)| *hash == code_hash(code, key));
            let Some((meant, _)) = meant else { return Ok(None) };
            let rows = super::rows(conn, Some(person), now).await?;
            Ok(rows.iter().filter_map(super::Row::parse).find(|row| row.public.fingerprint().as_str() == meant))
        };
        self.call(find).await.context("looking for a claim")?.ok_or(KeyRefused::BadCode)
    }

    /// Takes the code of a person's claim of this very key, signed in with a confirmed key of theirs, which approves
    /// their own claims alone. Before or after [`Store::confirm_key`]; once nothing is missing, the key counts, and all
    /// other claims of it end.
    pub async fn approve_key(
        &self,
        code: &str,
        key: &Fingerprint,
        with: &Fingerprint,
        person: &Person,
        now: Time,
    ) -> Result<Confirmed, KeyRefused> {
        self.proceed(now, async |conn| approved(conn, code, key, with, person, now).await).await
    }

    /// Writes down what a claim has got, and makes its key count if that was the last of what it waited for.
    async fn proceed(
        &self,
        now: Time,
        find: impl AsyncFnOnce(&mut AnyConnection) -> sqlx::Result<Option<Row>>,
    ) -> Result<Confirmed, KeyRefused> {
        let confirm = async |conn: &mut AnyConnection| {
            let Some(row) = find(conn).await? else { return Ok(Err(KeyRefused::BadCode)) };
            let needs = Needs::of(None, row.proved, row.older);
            if needs == Needs::default() {
                return row.counts(conn, now).await;
            }
            let sql = "update keys set proved = $1, older = $2 where person = $3 and fingerprint = $4";
            let update = sqlx::query(sql).bind(row.proved).bind(row.older);
            update.bind(row.person.as_str()).bind(row.fingerprint.as_str()).execute(&mut *conn).await?;
            Ok(Ok((row, needs)))
        };
        let (row, needs) = self.change_keys(confirm).await.context("confirming a key")??;
        let person = Person::parse(&row.person).map_err(|error| KeyRefused::Store(error.into()))?;
        let key = Fingerprint::parse(&row.fingerprint).context("reading a fingerprint")?;
        if needs == Needs::default() {
            Ok(Confirmed::Counts(person, key))
        } else {
            Ok(Confirmed::StillNeeds(person, key, needs))
        }
    }
}

impl Needs {
    /// From a row's columns.
    pub(super) fn of(confirmed: Option<i64>, proved: Option<i64>, older: i64) -> Self {
        let claimed = confirmed.is_none();
        Self { own: claimed && proved.is_none(), older: claimed && older == OLDER_NEEDED }
    }
}

/// `keys.older`: none needed, or it has approved.
const NO_OLDER: i64 = 0;
/// `keys.older`: needed as soon as the person has a confirmed key. Else somebody could claim before the first key is
/// confirmed, and prove theirs after it.
const OLDER_ONCE_THERE_IS_ONE: i64 = 1;
/// `keys.older`: needed.
const OLDER_NEEDED: i64 = 2;

/// A running claim.
#[derive(sqlx::FromRow)]
struct Row {
    person: String,
    fingerprint: String,
    proved: Option<i64>,
    older: i64,
}

impl Row {
    /// Nothing is missing any more.
    async fn counts(self, conn: &mut AnyConnection, now: Time) -> sqlx::Result<Result<(Self, Needs), KeyRefused>> {
        let Some(key) = Fingerprint::parse(&self.fingerprint) else { return Ok(Err(KeyRefused::BadCode)) };
        if is_confirmed(conn, &key).await? {
            return Ok(Err(KeyRefused::Taken));
        }
        end_others(conn, &self.person, &key).await?;
        let confirm = "update keys set confirmed = $1, code_hash = null, expires = null, proved = null, older = 0
            where person = $2 and fingerprint = $3";
        sqlx::query(confirm).bind(now.0).bind(self.person.as_str()).bind(key.as_str()).execute(&mut *conn).await?;
        has_a_key(conn, &self.person, now).await?;
        Ok(Ok((self, Needs::default())))
    }
}

/// The claim of this very key that has this code, with its own proof.
async fn claimed(conn: &mut AnyConnection, code: &str, key: &Fingerprint, now: Time) -> sqlx::Result<Option<Row>> {
    let sql = "select person, fingerprint, proved, older from keys
        where fingerprint = $1 and code_hash = $2 and confirmed is null and expires > $3";
    let hash = code_hash(code, key.as_str());
    let row = sqlx::query_as::<_, Row>(sql).bind(key.as_str()).bind(hash.as_str()).bind(now.0);
    Ok(row.fetch_optional(conn).await?.map(|row| Row { proved: Some(now.0), ..row }))
}

/// The person's claim of this key that has this code, approved by another that must be theirs now, whatever it was at
/// sign-in.
async fn approved(
    conn: &mut AnyConnection,
    code: &str,
    key: &Fingerprint,
    with: &Fingerprint,
    person: &Person,
    now: Time,
) -> sqlx::Result<Option<Row>> {
    if !counts(conn, person, with, now).await? {
        return Ok(None);
    }
    let sql = "select person, fingerprint, proved, older from keys
        where person = $1 and fingerprint = $2 and code_hash = $3 and confirmed is null and expires > $4";
    let hash = code_hash(code, key.as_str());
    let claim = sqlx::query_as::<_, Row>(sql).bind(person.as_str()).bind(key.as_str()).bind(hash.as_str()).bind(now.0);
    Ok(claim.fetch_optional(conn).await?.map(|row| Row { older: NO_OLDER, ..row }))
}

/// Whether this key is this person's, now.
async fn counts(conn: &mut AnyConnection, person: &Person, key: &Fingerprint, now: Time) -> sqlx::Result<bool> {
    let sql = "select count(*) from keys where person = $1 and fingerprint = $2 and confirmed is not null
        and (ends is null or ends > $3)";
    let counts = sqlx::query_scalar::<_, i64>(sql).bind(person.as_str()).bind(key.as_str()).bind(now.0);
    Ok(counts.fetch_one(conn).await? > 0)
}

/// What `keys.older` is for a new claim. Who has ever had a key is no first one again: else one could wait for the end
/// of the last, or have it removed.
pub(super) async fn older(conn: &mut AnyConnection, person: &str, shared_origin: bool) -> sqlx::Result<i64> {
    if !shared_origin {
        return Ok(NO_OLDER);
    }
    // Keys, too: a server from before that table confirms without a word in it.
    let sql = "select (select count(*) from had_keys where person = $1)
        + (select count(*) from keys where person = $1 and confirmed is not null)";
    let had_keys = sqlx::query_scalar::<_, i64>(sql).bind(person).fetch_one(conn).await? > 0;
    Ok(if had_keys { OLDER_NEEDED } else { OLDER_ONCE_THERE_IS_ONE })
}

/// A person has got a confirmed key: that is never forgotten, and the claims that were to be the first have to be
/// approved from now on.
pub(super) async fn has_a_key(conn: &mut AnyConnection, person: &str, now: Time) -> sqlx::Result<()> {
    let sql = "insert into had_keys (person, since) values ($1, $2) on conflict (person) do nothing";
    sqlx::query(sql).bind(person).bind(now.0).execute(&mut *conn).await?;
    let sql = "update keys set older = $1 where person = $2 and confirmed is null and older = $3";
    let update = sqlx::query(sql).bind(OLDER_NEEDED).bind(person).bind(OLDER_ONCE_THERE_IS_ONE);
    update.execute(conn).await.map(drop)
}

/// Ends the claims of a key that others have.
pub(super) async fn end_others(conn: &mut AnyConnection, person: &str, key: &Fingerprint) -> sqlx::Result<()> {
    let sql = "delete from keys where fingerprint = $1 and person <> $2 and confirmed is null";
    sqlx::query(sql).bind(key.as_str()).bind(person).execute(conn).await.map(drop)
}

/// What of a code is stored: only together with its key it can be looked for. However it was typed, it is the same.
fn code_hash(code: &str, key: &str) -> String {
    let code: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    random::hex(digest(&SHA256, format!("{key} {}", code.to_ascii_uppercase()).as_bytes()).as_ref())
}

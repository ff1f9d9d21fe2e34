//! Keys: what a visitor has, adds and removes. A key counts once its holder has proved it at the gateway.

use fairlead_model::{Fingerprint, Person, PublicKey, Time};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::plain::plain;
use super::{Page, Refused, Visitor, when};
use crate::clock::now;
use crate::store::audit::AuditEvent;
use crate::store::keys::{Claim, ClaimOptions, KeyRow};
use crate::store::sessions::SessionBegin;

/// A key as its page and JSON show it. Times are Unix milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct KeyView {
    pub(super) person: String,
    pub(super) fingerprint: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The comment it came with.
    pub(super) name: String,
    /// `counts`, `waits` for a confirmation, or `expired`.
    pub(super) state: &'static str,
    /// Whether it waits for `confirm` with this very key.
    pub(super) needs_own: bool,
    /// Whether it waits for `confirm` with an older key of the same person.
    pub(super) needs_older: bool,
    pub(super) added_ms: i64,
    pub(super) confirmed_ms: Option<i64>,
    pub(super) used_ms: Option<i64>,
    /// When it stops counting; of one that waits, when the wait ends.
    pub(super) expires_ms: Option<i64>,
    /// Sessions that end when it is removed.
    pub(super) live_sessions: usize,
}

/// A key that was just added.
#[derive(Debug)]
pub(super) struct Added {
    pub(super) key: PublicKey,
    pub(super) claim: Claim,
}

impl KeyView {
    pub(super) fn new(row: &KeyRow, live: &[SessionBegin], now: Time) -> Self {
        let fingerprint = row.public.fingerprint();
        let state = match (row.confirmed, row.expires) {
            (None, _) => "waits",
            (Some(_), Some(end)) if end <= now => "expired",
            (Some(_), _) => "counts",
        };
        Self {
            person: row.person.to_string(),
            fingerprint: fingerprint.to_string(),
            kind: row.public.kind().to_owned(),
            name: plain(&row.comment),
            state,
            needs_own: row.needs.own,
            needs_older: row.needs.older,
            added_ms: row.added.0,
            confirmed_ms: row.confirmed.map(|time| time.0),
            used_ms: row.used.map(|time| time.0),
            expires_ms: row.expires.map(|time| time.0),
            live_sessions: live.iter().filter(|one| one.key == *fingerprint && one.person == row.person).count(),
        }
    }
}

impl KeyView {
    /// The day of its last use.
    pub(super) fn used(&self) -> Option<String> {
        self.used_ms.map(when::day)
    }

    /// The day on which it stops counting.
    pub(super) fn ends(&self) -> Option<String> {
        self.expires_ms.map(when::day)
    }
}

/// The keys of one person or of everybody, oldest first.
pub(super) async fn list(page: &Page, person: Option<&Person>) -> Result<Vec<KeyView>, Refused> {
    let rows = page.store.list_keys(person, now()).await?;
    let live = page.store.live_sessions().await?;
    Ok(rows.iter().map(|row| KeyView::new(row, &live, now())).collect())
}

/// One person's, for a page that asks every second: without what a removal would end.
pub(super) async fn without_sessions(page: &Page, person: &Person) -> Result<Vec<KeyView>, Refused> {
    let rows = page.store.list_keys(Some(person), now()).await?;
    Ok(rows.iter().map(|row| KeyView::new(row, &[], now())).collect())
}

/// Whether one of these waits for an older key, and there is none that could approve it.
pub(super) fn is_stuck(keys: &[KeyView]) -> bool {
    keys.iter().any(|key| key.needs_older) && !keys.iter().any(|key| key.state == "counts")
}

/// Claims the one key in `text` for the visitor.
pub(super) async fn add(page: &Page, visitor: &Visitor, text: &str, ends: &str) -> Result<Added, Refused> {
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    let parsed = PublicKey::parse(text.trim());
    if lines > 1 && !matches!(parsed, Err(fairlead_model::key::BadKey::Private)) {
        return Err(Refused::SeveralKeys(lines));
    }
    let (key, comment) = parsed?;
    let options = ClaimOptions { ends: end_of(ends)?, shared_origin: page.settings.is_shared_origin() };
    let claim = paced(page, visitor, async |now| {
        Ok(page.store.claim_key_with(&visitor.person, &key, &comment, options, now).await?)
    })
    .await?;
    audit(page, visitor, "key-claimed", key.fingerprint(), "on the page");
    Ok(Added { key, claim })
}

/// Removes a key of `person`, who is the visitor but for admins.
pub(super) async fn remove(page: &Page, visitor: &Visitor, person: &Person, fingerprint: &str) -> Result<(), Refused> {
    if *person != visitor.person && !visitor.admin {
        return Err(Refused::NotFound);
    }
    let fingerprint = Fingerprint::parse(fingerprint).ok_or(Refused::NotFound)?;
    // What a script of somebody's notebook could do in this origin ends before the last key, also in an admin's name.
    let is_shared = page.settings.is_shared_origin();
    paced(page, visitor, async |now| {
        let removed = page.store.remove_key_with(person, &fingerprint, is_shared.then_some(now)).await?;
        if removed { Ok(()) } else { Err(Refused::NotFound) }
    })
    .await?;
    audit(page, visitor, "key-removed", &fingerprint, &format!("of {person}, on the page"));
    Ok(())
}

/// Makes a change if the visitor is not too fast; one that comes to nothing counts for nothing.
async fn paced<T>(
    page: &Page,
    visitor: &Visitor,
    change: impl AsyncFnOnce(Time) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let now = now();
    page.pace.take(&visitor.person, now)?;
    let done = change(now).await;
    if done.is_err() {
        page.pace.give_back(&visitor.person, now);
    }
    done
}

/// The last millisecond of a day as a form's field has it, `2030-01-31`; none where it is empty.
fn end_of(day: &str) -> Result<Option<Time>, Refused> {
    if day.is_empty() {
        return Ok(None);
    }
    let date: Date = day.parse().map_err(|_| Refused::BadDate)?;
    let next = date.tomorrow().ok().and_then(|next| next.to_zoned(TimeZone::UTC).ok()).ok_or(Refused::BadDate)?;
    let end = Time(next.timestamp().as_millisecond() - 1);
    if end <= now() { Err(Refused::BadDate) } else { Ok(Some(end)) }
}

fn audit(page: &Page, visitor: &Visitor, event: &str, key: &Fingerprint, detail: &str) {
    page.recorder.audit(AuditEvent {
        at: now(),
        event: event.to_owned(),
        person: Some(visitor.person.to_string()),
        from: visitor.from.map(|from| from.to_string()),
        object: Some(key.to_string()),
        detail: Some(detail.to_owned()),
    });
}

//! What people asked the operator to do: notebooks to start or stop. Whoever asks here has been authenticated; whether
//! they may is decided again by who carries it out, since a row is no proof.

use anyhow::{Context, Result};
use fairlead_model::{NotebookId, Person, Time};
use sqlx::AnyConnection;

use super::{Store, Topic};
use crate::random;

/// An ask that nobody answers for so long is answered `expired`, in seconds: a notebook must not stop an hour later,
/// because the operator is back.
pub const ASK_SECONDS: i64 = 300;

/// How much of one person's may be open: restarts of twenty notebooks, which are two asks each.
const MAX_ASKS: i64 = 40;

/// Why something cannot be asked for.
#[derive(Debug, thiserror::Error)]
pub enum AskRefused {
    /// Too much that this person asked for is not done yet.
    #[error("much that you asked for is not done yet")]
    TooMany,
    /// The database.
    #[error(transparent)]
    Store(#[from] anyhow::Error),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskKind {
    /// Start a notebook.
    Start,
    /// Stop one.
    Stop,
}

/// Something that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// 32 hexadecimal digits at random.
    pub id: String,
    /// What to do,
    pub kind: AskKind,
    /// to which notebook.
    pub notebook: NotebookId,
    /// Who asks.
    pub person: Person,
    /// When it was asked.
    pub asked: Time,
}

impl AskKind {
    /// The word for the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }

    /// By its word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Start, Self::Stop].into_iter().find(|kind| kind.word() == word)
    }
}

impl Store {
    /// Asks for something; the id to look for the outcome by. A notebook has at most one open stop and one open start:
    /// who asks for what is open already gets its id, and what was asked after it, the opposite, is answered
    /// `superseded`. That one has not begun: of each notebook the oldest comes first.
    pub async fn ask(
        &self,
        kind: AskKind,
        notebook: &NotebookId,
        person: &Person,
        now: Time,
    ) -> Result<String, AskRefused> {
        let id = random::id()?;
        let (namespace, name) = (notebook.namespace.as_str(), notebook.name.as_str());
        let ask = async |conn: &mut AnyConnection| {
            let sql = "select id, kind, asked from asks where namespace = $1 and notebook = $2 and done is null
                and asked >= $3 and kind in ('start', 'stop') order by asked, id";
            let open = sqlx::query_as::<_, (String, String, i64)>(sql).bind(namespace).bind(name);
            let open = open.bind(oldest(now).0).fetch_all(&mut *conn).await?;
            if let Some(same) = open.iter().position(|(_, word, _)| word == kind.word()) {
                for (later, ..) in &open[same + 1..] {
                    supersede(conn, later, now).await?;
                }
                return Ok(Ok(open[same].0.clone()));
            }
            // A restart is a stop and a start: what takes the one takes the other.
            if count(conn, person, now).await? >= MAX_ASKS + i64::from(!open.is_empty()) {
                return Ok(Err(()));
            }
            // Later than what is open already: stop and start of one millisecond must not change places.
            let last = open.last().map(|(.., asked)| *asked).filter(|last| *last < i64::MAX);
            let at = last.map_or(now.0, |last| now.0.max(last + 1));
            let sql = "insert into asks (id, kind, namespace, notebook, person, asked)
                values ($1, $2, $3, $4, $5, $6)";
            let insert = sqlx::query(sql).bind(id.as_str()).bind(kind.word()).bind(namespace).bind(name);
            insert.bind(person.as_str()).bind(at).execute(&mut *conn).await?;
            Ok(Ok(id.clone()))
        };
        let asked = self.change(Topic::Asks, ask).await.with_context(|| format!("asking about `{notebook}`"))?;
        asked.map_err(|()| AskRefused::TooMany)
    }

    /// What is open, in the order in which it was asked. What is too old is answered `expired` here.
    pub async fn open_asks(&self, now: Time) -> Result<Vec<Ask>> {
        let sql = "select id, kind, namespace, notebook, person, asked from asks where done is null order by asked, id";
        let rows = self.call(async |conn| sqlx::query_as::<_, Row>(sql).fetch_all(conn).await).await;
        let (open, old): (Vec<Row>, Vec<Row>) =
            rows.context("reading what was asked for")?.into_iter().partition(|row| row.5 >= oldest(now).0);
        if !old.is_empty() {
            let expire = async |conn: &mut AnyConnection| {
                let sql = "update asks set done = $1, outcome = 'expired' where done is null and asked < $2";
                let update = sqlx::query(sql).bind(now.0).bind(oldest(now).0);
                update.execute(conn).await.map(|_| Ok::<_, std::convert::Infallible>(()))
            };
            let Ok(()) = self.change(Topic::Asks, expire).await.context("answering what nobody has answered")?;
        }
        Ok(open.into_iter().filter_map(parse).collect())
    }

    /// Answers an ask, unless it has an answer; whether this is it.
    pub async fn answer(&self, id: &str, outcome: &str, now: Time) -> Result<bool> {
        let answer = async |conn: &mut AnyConnection| {
            let sql = "update asks set done = $1, outcome = $2 where id = $3 and done is null";
            let done = sqlx::query(sql).bind(now.0).bind(outcome).bind(id).execute(conn).await?;
            Ok(if done.rows_affected() > 0 { Ok(()) } else { Err(()) })
        };
        Ok(self.change(Topic::Asks, answer).await.context("answering what was asked for")?.is_ok())
    }

    /// The outcome of an ask: `None` where there is no such ask, `Some(None)` while it is open.
    pub async fn ask_outcome(&self, id: &str) -> Result<Option<Option<String>>> {
        let sql = "select outcome from asks where id = $1";
        let row = self.call(async |conn| sqlx::query_scalar(sql).bind(id).fetch_optional(conn).await).await;
        row.context("reading how an ask ended")
    }
}

async fn supersede(conn: &mut AnyConnection, id: &str, now: Time) -> sqlx::Result<()> {
    let sql = "update asks set done = $1, outcome = 'superseded' where id = $2 and done is null";
    sqlx::query(sql).bind(now.0).bind(id).execute(conn).await.map(drop)
}

/// How much of what a person asked lately is open, or was superseded: who changes their mind again and again leaves
/// rows as well.
async fn count(conn: &mut AnyConnection, person: &Person, now: Time) -> sqlx::Result<i64> {
    let sql = "select (select count(*) from asks where person = $1 and done is null and asked >= $2)
        + (select count(*) from asks where person = $1 and done >= $2 and outcome = 'superseded')";
    sqlx::query_scalar(sql).bind(person.as_str()).bind(oldest(now).0).fetch_one(conn).await
}

/// Id, kind, namespace, notebook, person, time.
type Row = (String, String, String, String, String, i64);

/// What was asked before this moment is too old.
const fn oldest(now: Time) -> Time {
    now.plus_seconds(-ASK_SECONDS)
}

fn parse((id, kind, namespace, notebook, person, asked): Row) -> Option<Ask> {
    let parsed = || -> Result<Ask> {
        Ok(Ask {
            id: id.clone(),
            kind: AskKind::from_word(&kind).context("no such kind")?,
            notebook: NotebookId::parse(&namespace, &notebook)?,
            person: Person::parse(&person)?,
            asked: Time(asked),
        })
    };
    parsed().inspect_err(|error| tracing::warn!(%error, id, "an ask in the database does not parse")).ok()
}

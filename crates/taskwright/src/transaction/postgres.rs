//! Transactions on the store's PostgreSQL, of whatever driver: all send one text of JSON to a function in the database.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;
use taskwright_core::limit::ENQUEUE_JOBS_MAX;
use taskwright_core::{Delivery, Error as DomainError, EventId, JobId, NewJob, Timestamp, UniqueScope};
use taskwright_store::postgres::schema_of;
use taskwright_store::{Enqueued, NewEvent, StoreInfo};

use super::sealed::Sealed;
use super::{CallersTransaction, Completion};
use crate::client::Client;
use crate::error::{Error, InTransaction};
use crate::middleware::through;

/// How many bytes of arguments one statement takes, unless a single job has more: 16 MiB.
const STATEMENT_ARGS_BYTES: usize = 16 << 20;

/// Begins the transaction of a task. Whatever the database's default is: to complete a job sets it apart first, of which a snapshot that is
/// older would know nothing.
#[cfg(any(
    feature = "tokio-postgres-0_7",
    feature = "deadpool-postgres-0_14",
    feature = "sqlx-0_9",
    feature = "diesel-async-0_9"
))]
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// A future on the heap.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Any error that may be sent to another thread.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A transaction on PostgreSQL, as a driver has it. Implement it for the type of another driver, and a `&mut` to that can
/// be given to [`Client::enqueue_in`], [`Client::emit_in`] and [`Context::complete_in`](crate::Context::complete_in).
///
/// # Example
///
/// ```
/// use taskwright::transaction::{BoxError, BoxFuture, PostgresTransaction};
/// # struct Driver;
/// # impl Driver { async fn ask(&mut self, _: &str, _: &[&str]) -> Result<Vec<(String, bool)>, std::fmt::Error> { Ok(vec![]) } }
///
/// struct MyTransaction(Driver);
///
/// impl PostgresTransaction for MyTransaction {
///     fn rows<'a>(
///         &'a mut self,
///         sql: &'a str,
///         parameter: &'a str,
///     ) -> BoxFuture<'a, Result<Vec<(String, bool)>, BoxError>> {
///         Box::pin(async move { Ok(self.0.ask(sql, &[parameter]).await?) })
///     }
/// }
/// ```
pub trait PostgresTransaction: Send {
    /// Runs a statement in the transaction, whose one parameter (`$1`) is a `text`, and whose rows are (`id text`,
    /// `existing boolean`). The statement is one of a few.
    ///
    /// # Errors
    ///
    /// The driver's own, as it is.
    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        parameter: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, bool)>, BoxError>>;
}

impl<X: PostgresTransaction + ?Sized> Sealed for &mut X {}

impl<'a, X: PostgresTransaction + ?Sized> CallersTransaction for &'a mut X {
    type Answer<T: Send + 'static> = BoxFuture<'a, Result<T, Error>>;

    fn enqueue<T: Send + 'static>(
        self,
        client: &Client,
        jobs: Result<Vec<NewJob>, Error>,
        answer: fn(Vec<Enqueued>) -> T,
    ) -> BoxFuture<'a, Result<T, Error>> {
        let sql = statement(&client.store_info(), "enqueue_jobs");
        let around = client.around().cloned();
        Box::pin(async move {
            let (sql, jobs) = (sql?, jobs?);
            let stored = match &around {
                None => enqueue(self, &sql, &jobs).await?,
                Some(around) => {
                    let sql = &sql;
                    let store = |jobs: Vec<NewJob>| async move { enqueue(self, sql, &jobs).await };
                    Box::pin(through(around, true, jobs, store)).await?
                }
            };
            Ok(answer(stored))
        })
    }

    fn emit(self, client: &Client, event: Result<NewEvent, Error>) -> BoxFuture<'a, Result<EventId, Error>> {
        let sql = statement(&client.store_info(), "emit_events");
        Box::pin(async move {
            let (sql, event) = (sql?, event?);
            let rows = self.rows(&sql, &json(&[GivenEvent::of(&event)])?).await;
            rows.map(|_| event.id).map_err(|error| explain("emit the event in the transaction", error))
        })
    }

    fn complete(self, completion: Result<Completion, Error>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let Completion { attempt, end } = completion?;
            let store = attempt.host.store.info();
            let sql = statement(&store, "complete_attempt")?;
            attempt.prepare_completion().await?;
            if !end.follow_ups.is_empty() {
                enqueue(self, &statement(&store, "enqueue_jobs")?, &end.follow_ups).await?;
            }
            let given = GivenEnd {
                worker: attempt.host.worker.to_string(),
                seq: end.key.0,
                number: end.attempt,
                started_at: end.started_at.as_micros(),
                result: end.decision.result.as_deref(),
                usage: end.usage.as_ref().and_then(|usage| serde_json::to_string(usage).ok()),
            };
            let rows = self.rows(&sql, &json(&given)?).await;
            rows.map(drop).map_err(|error| explain("complete the attempt in the transaction", error))
        })
    }
}

/// The statement that calls one of the functions in the schema of a store.
fn statement(store: &StoreInfo, function: &str) -> Result<String, Error> {
    match schema_of(store) {
        // A schema's name has no quote in it.
        Some(schema) => Ok(format!(r#"SELECT id, existing FROM "{schema}".{function}($1)"#)),
        None => Err(DomainError::invalid(
            "the transaction",
            format!("it is one of PostgreSQL, and the jobs are in a store of the kind {}", store.kind),
            "use a store in the same database (postgres://...), or the calls without a transaction",
        )
        .into()),
    }
}

async fn enqueue<X: PostgresTransaction + ?Sized>(
    tx: &mut X,
    sql: &str,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, Error> {
    if jobs.len() > ENQUEUE_JOBS_MAX {
        return Err(DomainError::too_large(
            format!("a batch of {} jobs", jobs.len()),
            format!("one call stores at most {ENQUEUE_JOBS_MAX}"),
            "cut it into smaller batches",
        )
        .into());
    }
    let mut enqueued = Vec::with_capacity(jobs.len());
    let mut rest = jobs;
    while !rest.is_empty() {
        let (batch, tail) = rest.split_at(batch_len(rest));
        rest = tail;
        let given: Vec<GivenJob<'_>> = batch.iter().map(GivenJob::of).collect();
        let what = "store the jobs in the transaction";
        let rows = tx.rows(sql, &json(&given)?).await.map_err(|error| explain(what, error))?;
        if rows.len() != batch.len() {
            let error = format!("{} jobs were sent, and {} answered", batch.len(), rows.len());
            return Err(explain(what, error.into()));
        }
        for (id, existing) in rows {
            let id: JobId = id.parse()?;
            enqueued.push(Enqueued { id, existing });
        }
    }
    Ok(enqueued)
}

/// How many of the jobs, of which there is one, go into the next statement.
fn batch_len(jobs: &[NewJob]) -> usize {
    let mut bytes = 0;
    let fitting = jobs.iter().take_while(|job| {
        bytes += job.args.as_str().len();
        bytes <= STATEMENT_ARGS_BYTES
    });
    fitting.count().max(1)
}

/// A job, as the function `enqueue_jobs` takes it.
#[derive(Serialize)]
struct GivenJob<'a> {
    id: String,
    namespace: &'a str,
    queue: &'a str,
    kind: &'a str,
    priority: i16,
    /// A string, so that the exact bytes are kept.
    args: &'a str,
    run_at: Option<i64>,
    held: bool,
    max_attempts: u32,
    backoff: Option<String>,
    timeout_us: Option<i64>,
    at_most_once: bool,
    owner: Option<&'a str>,
    key: Option<&'a str>,
    scope: Option<u8>,
}

impl<'a> GivenJob<'a> {
    fn of(job: &'a NewJob) -> Self {
        Self {
            id: job.id.to_string(),
            namespace: job.namespace.as_str(),
            queue: job.queue.as_str(),
            kind: job.kind.as_str(),
            priority: job.priority.0,
            args: job.args.as_str(),
            run_at: job.run_at.map(Timestamp::as_micros),
            held: job.held,
            max_attempts: job.max_attempts.code(),
            backoff: job.backoff.map(|backoff| backoff.to_string()),
            timeout_us: job.timeout.map(|timeout| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX)),
            at_most_once: job.delivery == Delivery::AtMostOnce,
            owner: job.owner.as_ref().map(|owner| owner.as_str()),
            key: job.unique.as_ref().map(|unique| unique.as_str()),
            scope: job.unique.as_ref().map(|unique| match unique.scope {
                UniqueScope::Waiting => 1,
                UniqueScope::Active => 2,
            }),
        }
    }
}

/// An event, as the function `emit_events` takes it.
#[derive(Serialize)]
struct GivenEvent<'a> {
    id: String,
    namespace: &'a str,
    topic: &'a str,
    key: Option<&'a str>,
    /// A string, so that the exact bytes are kept.
    payload: &'a str,
}

impl<'a> GivenEvent<'a> {
    fn of(event: &'a NewEvent) -> Self {
        Self {
            id: event.id.to_string(),
            namespace: event.namespace.as_str(),
            topic: event.topic.as_str(),
            key: event.key.as_deref(),
            payload: event.payload.as_str(),
        }
    }
}

/// The end of an attempt, as the function `complete_attempt` takes it.
#[derive(Serialize)]
struct GivenEnd<'a> {
    worker: String,
    seq: i64,
    number: u32,
    started_at: i64,
    result: Option<&'a str>,
    usage: Option<String>,
}

fn json(given: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(given).map_err(|error| explain("write JSON", error.into()))
}

/// Serialization failure, deadlock, lock not available, query cancelled (a time limit).
const IN_THE_WAY: [&str; 4] = ["40001", "40P01", "55P03", "57014"];

/// The SQLSTATE of a driver's error, where that driver tells it.
fn code(source: &(dyn std::error::Error + Send + Sync + 'static)) -> Option<String> {
    #[cfg(feature = "tokio-postgres-0_7")]
    if let Some(error) = source.downcast_ref::<tokio_postgres::Error>() {
        return error.code().map(|code| code.code().to_owned());
    }
    #[cfg(feature = "sqlx-0_9")]
    if let Some(error) = source.downcast_ref::<sqlx::Error>() {
        return Some(error.as_database_error()?.code()?.into_owned());
    }
    #[cfg(feature = "diesel-async-0_9")]
    if let Some(diesel::result::Error::DatabaseError(kind, _)) = source.downcast_ref() {
        use diesel::result::DatabaseErrorKind as Kind;
        return matches!(kind, Kind::SerializationFailure).then(|| "40001".to_owned());
    }
    let _ = source;
    None
}

/// What is known of an error: drivers differ, but all of them repeat the server's message.
fn explain(what: &'static str, source: BoxError) -> Error {
    let mut text = source.to_string();
    let mut cause = source.source();
    while let Some(error) = cause {
        text.push('\n');
        text.push_str(&error.to_string());
        cause = error.source();
    }
    let code = code(&*source);
    // Without a code, by the words of a server that speaks English.
    let is = |codes: &[&str], words: &str| match &code {
        Some(code) => codes.contains(&code.as_str()),
        None => text.contains(words),
    };
    let names_ours =
        ["enqueue_jobs", "emit_events", "complete_attempt", "schema"].iter().any(|name| text.contains(name));
    let is_missing = is(&["42883", "3F000", "42P01"], "does not exist") && names_ours;
    let (why, fix, refused) = if text.contains("runs no more on this worker") {
        ("the attempt has ended, or the job runs, or has run, elsewhere", "roll back, and return", true)
    } else if text.contains("asked for this job to be cancelled") {
        ("somebody has asked for this job to be cancelled", "roll back, and return from the handler", true)
    } else if is_missing {
        (
            "the database of the transaction has no such function",
            "begin the transaction in the database of the store; if it is that, run `taskwright migrate`",
            false,
        )
    } else if is(&["42501"], "permission denied") {
        (
            "the role of the transaction has no right to it",
            "let the owner of the schema run `taskwright migrate --grant ROLE` with that role",
            false,
        )
    } else if is(&IN_THE_WAY, "could not serialize access") {
        ("another transaction was in the way", "roll back, and try the whole transaction again", false)
    } else {
        ("the database refused it", "roll back; the source of this error tells the cause", false)
    };
    Error::in_transaction(InTransaction { what, why: why.to_owned(), fix, refused, source })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use taskwright_core::limit::ARGS_BYTES_MAX;
    use taskwright_core::{Args, Kind};

    use super::*;
    use crate::{Env, Job};

    /// Answers what it is told to, and keeps what it was sent.
    #[derive(Default)]
    struct Recorder {
        sent: Vec<(String, String)>,
        fails: Option<&'static str>,
    }

    impl PostgresTransaction for Recorder {
        fn rows<'a>(
            &'a mut self,
            sql: &'a str,
            parameter: &'a str,
        ) -> BoxFuture<'a, Result<Vec<(String, bool)>, BoxError>> {
            self.sent.push((sql.to_owned(), parameter.to_owned()));
            let jobs: Vec<serde_json::Value> = serde_json::from_str(parameter).unwrap();
            let rows = jobs.iter().map(|job| (job["id"].as_str().unwrap().to_owned(), false)).collect();
            let answer = self.fails.map_or(Ok(rows), |error| Err(error.into()));
            Box::pin(async move { answer })
        }
    }

    fn job(bytes: usize) -> NewJob {
        let args = Args::of(&"x".repeat(bytes - 2)).unwrap();
        NewJob::new(Env::system().job_id(), Kind::new("a").unwrap(), args)
    }

    #[tokio::test]
    async fn large_jobs_go_in_several_statements_and_are_answered_in_order() {
        let jobs: Vec<NewJob> = (0..20).map(|_| job(ARGS_BYTES_MAX)).collect();
        let mut tx = Recorder::default();
        let enqueued = enqueue(&mut tx, "sql", &jobs).await.unwrap();
        assert!(enqueued.iter().map(|job| job.id).eq(jobs.iter().map(|job| job.id)));
        assert_eq!(tx.sent.len(), 2);
    }

    #[tokio::test]
    async fn a_batch_over_the_limit_is_refused_before_anything_is_sent() {
        let jobs = vec![job(2); ENQUEUE_JOBS_MAX + 1];
        let mut tx = Recorder::default();
        let error = enqueue(&mut tx, "sql", &jobs).await.unwrap_err();
        assert!(error.is_domain() && error.to_string().contains("10001"), "{error}");
        assert!(tx.sent.is_empty());
    }

    #[tokio::test]
    async fn a_client_of_another_store_is_told_so() {
        let store = Arc::new(taskwright_store::memory::MemoryStore::new());
        let client = Client::new(store, Env::system());
        let mut tx = Recorder::default();
        let error = client.enqueue_in(&mut tx, Job::new("a")).await.unwrap_err();
        assert!(error.to_string().contains("kind memory") && error.fix().contains("postgres://"), "{error}");
        assert!(tx.sent.is_empty());
    }

    #[tokio::test]
    async fn errors_say_what_to_do() {
        for (told, fix, refused) in [
            ("db error: function taskwright.enqueue_jobs(text) does not exist", "taskwright migrate`", false),
            ("schema \"taskwright\" does not exist", "database of the store", false),
            ("permission denied for schema taskwright", "--grant", false),
            ("taskwright: attempt 2 of this job runs no more on this worker", "roll back", true),
            ("taskwright: somebody has asked for this job to be cancelled", "roll back", true),
            ("could not serialize access due to concurrent update", "whole transaction again", false),
            ("the disk is on fire", "source of this error", false),
        ] {
            let mut tx = Recorder { fails: Some(told), ..Recorder::default() };
            let error = enqueue(&mut tx, "sql", &[job(2)]).await.unwrap_err();
            assert!(error.fix().contains(fix), "{told}: {}", error.fix());
            assert_eq!(error.is_refused(), refused, "{told}");
            assert_eq!(std::error::Error::source(&error).unwrap().to_string(), told);
        }
    }
}

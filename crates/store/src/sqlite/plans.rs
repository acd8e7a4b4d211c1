//! Every statement that is executed often finds its rows by an index, however much there is: the plans of SQLite are
//! kept, so that a change of one is seen, and none may walk a table that grows with the jobs.

use std::sync::Arc;

use rusqlite::{Connection, StatementStatus};
use taskwright_core::attempt::Outcome;
use taskwright_core::{ArgsSearch, NewJob, State};

use super::open::Options;
use super::{
    SqliteStore, attachment, audit, bulk, change, claim, collect, completions, event, file, finish,
    generator, held, history, identity, list, moves, place, query, rollup, schedule, service, source, step,
    submitter, sweep, webhook, worker,
};
use crate::conformance::fixture::*;
use crate::{ClaimedJob, Filter, Pattern};

/// Jobs of each sort: a million and some.
const JOBS: u32 = 1_000 << DOUBLINGS;
const DOUBLINGS: u32 = 10;

/// What may be walked, by table or by the letter that stands for it: queues, lanes and workers, jobs that run, and values
/// that were passed or chosen up to a limit. None of it grows with the jobs.
const SMALL: [&str; 12] = [
    "taskwright_queue",
    "q",
    "l",
    "k",
    "taskwright_running",
    "x",
    "taskwright_block",
    "b",
    "rarray",
    "CONSTANT",
    "(subquery-1)",
    "(subquery-2)",
];

const STATEMENTS: &[(&str, &str)] = &[
    ("claim: worker", worker::ALIVE),
    ("claim: paused queues", claim::PAUSED),
    ("claim: next lane", claim::NEXT_LANE),
    ("claim: more of a lane", claim::REFILL),
    ("claim: read", claim::READ_PREFIX),
    ("claim: run", claim::RUN_PREFIX),
    ("claim: take", claim::TAKE_PREFIX),
    ("claim: block of a job", held::AT),
    ("claim: remove block", held::REMOVE),
    ("claim: keep key", claim::KEEP_KEY),
    ("claim: release key", claim::RELEASE_KEY),
    ("claim: key released", claim::KEY_RELEASED),
    ("finish: fences", finish::FENCES),
    ("finish: fence", finish::FENCE),
    ("finish: completed", finish::END_COMPLETED),
    ("finish: one", finish::END_ONE),
    ("finish: snoozes", finish::SNOOZES),
    ("finish: report", finish::REPORT),
    ("finish: log", finish::APPEND_LOG),
    ("steps: keep", step::KEEP),
    ("steps: replace", step::FORGET_ONE),
    ("steps: list", step::LIST),
    ("steps: remove", step::REMOVE),
    ("steps: forget", step::FORGET),
    ("steps: kept", step::KEPT),
    ("attachments: remove", attachment::REMOVE[0]),
    ("attachments: remove pieces", attachment::REMOVE[1]),
    ("attachments: replace", attachment::REMOVE_ONE[0]),
    ("attachments: replace pieces", attachment::REMOVE_ONE[1]),
    ("attachments: of a job", attachment::OF_JOB),
    ("attachments: held", attachment::HELD),
    ("attachments: list", attachment::LIST),
    ("attachments: piece", attachment::PIECE),
    ("services: forget", service::FORGET),
    ("services: forget old", service::FORGET_OLD),
    ("services: list", service::LIST),
    ("moves: is listened", moves::IS_LISTENED),
    ("moves: behind a place", moves::BEHIND),
    ("moves: forget", moves::FORGET),
    ("set apart: all", held::RUN_ALL),
    ("set apart: their blocks", held::REMOVE_ALL),
    ("completion: of a job", completions::AT),
    ("completion: whole", completions::WHOLE),
    ("completion: what its jobs waited for", completions::AVAILABLE),
    ("completion: walk", completions::NEXT),
    ("completion: remove", completions::REMOVE),
    ("completion: times of a job", completions::OF_JOB),
    ("remove: over", change::REMOVE[0]),
    ("remove: attempts", change::REMOVE[1]),
    ("remove: moves", change::REMOVE[2]),
    ("remove: log", change::REMOVE[3]),
    ("remove: key", change::REMOVE[4]),
    ("remove: past key", change::REMOVE[5]),
    ("remove: bulk", change::REMOVE[6]),
    ("remove: comments", change::REMOVE[7]),
    ("remove: consumed", change::REMOVE[8]),
    ("remove: job", change::REMOVE[9]),
    ("move: time", place::MOVE_TIME),
    ("move: to ready", place::PUT_READY),
    ("move: from ready", place::TAKE_READY),
    ("move: from waiting", place::TAKE_WAITING),
    ("move: from over", place::TAKE_OVER),
    ("move: keep key", place::KEEP_KEY),
    ("move: free key", place::FREE_KEY),
    ("purge: next in lane", change::NEXT_IN_LANE),
    ("purge: next waiting", change::NEXT_WAITING),
    ("awaken: last cause", change::LAST_CAUSE),
    ("bulk: parent", bulk::PARENT),
    ("bulk: tell", bulk::TELL),
    ("bulk: is parent", bulk::IS_PARENT),
    ("bulk: wake", bulk::WAKE),
    ("redo: holder of the key", change::KEY_HOLDER),
    ("redo: retake key", change::RETAKE_KEY),
    ("change: ask for the end", change::REQUEST_STOP),
    ("redo: forget key", change::FORGET_KEY),
    ("promote: next due", sweep::NEXT_DUE),
    ("promote: due", sweep::DUE),
    ("promote: take", sweep::PROMOTE),
    ("reclaim: living", sweep::LIVING),
    ("reclaim: touch", sweep::TOUCH),
    ("reclaim: lose", sweep::LOSE),
    ("reclaim: held", sweep::HELD),
    ("reclaim: last ends", sweep::LAST_ENDS),
    ("last chances: attempts that count", sweep::ATTEMPTS_BASE),
    ("history: walk", history::WALK),
    ("history: walk one job", history::WALK_JOB),
    ("history: lane", history::LANE),
    ("history: near", history::NEAR),
    ("history: read", history::READ),
    ("history: read a completion", history::READ_COMPLETED),
    ("renew", worker::RENEW),
    ("signals: cancels", worker::CANCELS),
    ("schedule: by name", schedule::BY_NAME),
    ("schedule: write", schedule::UPDATE),
    ("schedule: fired before", schedule::FIRED_AT),
    ("schedule: fired before by an event", schedule::FIRED_BY_EVENT),
    ("schedule: history", schedule::FIRINGS),
    ("schedule: forget history", schedule::PRUNE_FIRINGS),
    ("free: what runs", change::RUNNING),
    ("collect: over", collect::OVER),
    ("collect: workers", collect::FORGET_WORKERS),
    ("roll up: leave a slip", rollup::LEAVE),
    ("roll up: the job of an end", rollup::JOB),
    ("roll up: the end before", rollup::PREVIOUS_END),
    ("roll up: slips", rollup::SLIPS),
    ("roll up: forget slips", rollup::FORGET_SLIPS),
    ("roll up: read one", rollup::GET),
    ("roll up: write one", rollup::PUT),
    ("roll up: a page", rollup::PAGE),
    ("event: list", event::EVENTS),
    ("event: forget", event::PRUNE),
    ("source: seen of a path", source::SEEN_OF),
    ("source: seen, by path", source::SEEN),
    ("source: see a new file", source::INSERT),
    ("source: see a changed file", source::UPDATE),
    ("source: forget a file", source::DELETE),
    ("generator: due", generator::DUE),
    ("generator: due next", generator::NEXT),
    ("generator: who holds it", generator::HELD),
    ("generator: commit", generator::COMMIT),
    ("generator: let go", generator::LET_GO),
    ("generator: renew", generator::RENEW),
    ("generator: listening", generator::LISTENING),
    ("generator: write", generator::WRITE),
    ("generator: notify", generator::NOTIFY),
    ("generator: items have ended", generator::NOTE_ENDS),
    ("generator: keep keys of dead letters", generator::KEEP_KEYS),
    ("generator: forget settled items", generator::FORGET_SETTLED),
    ("generator: whether it has failed", generator::OVER_AS),
    ("generator: an item once more", generator::INSERT_ITEM),
    ("file: one by path", file::FILE_OF),
    ("file: by path", file::FILES),
    ("file: remember", file::REMEMBER),
    ("file: its item has ended", file::CLOSE),
    ("file: forget", file::FORGET),
    ("file: forget all of a generator", file::FORGET_ALL),
    ("generator: forget items", generator::FORGET_ITEMS),
    ("generator: notify by key", generator::NOTIFY_KEY),
    ("webhook: who listens", webhook::LISTENING),
    ("webhook: end of the log", webhook::LOG_END),
    ("webhook: log", webhook::LOG),
    ("webhook: what is gone", webhook::GONE),
    ("webhook: note what is gone", webhook::NOTE_GONE),
    ("webhook: retries", webhook::RETRIES),
    ("webhook: how many retries", webhook::RETRY_COUNT),
    ("webhook: key that waits", webhook::WAITING),
    ("webhook: retry later", webhook::LATER),
    ("webhook: retry again", webhook::AGAIN),
    ("webhook: retry done", webhook::DONE),
    ("webhook: release a key", webhook::RELEASE),
    ("webhook: history", webhook::DELIVERIES),
    ("webhook: forget history", webhook::PRUNE),
    ("webhook: forget retries", webhook::PRUNE_RETRIES),
    ("audit: ends", audit::ENDS),
    ("audit: links", audit::LINKS),
    ("audit: newest", audit::NEWEST),
    ("audit: forget", audit::REMOVE),
    ("principals: any", identity::ARE_SOME),
    ("principals: forget sessions", identity::REMOVE_SESSIONS),
    ("job: whose", submitter::WHOSE),
    ("requests: known", submitter::KNOWN_REQUEST),
    ("requests: forget", submitter::FORGET_REQUESTS),
    ("comment: job", submitter::COUNT),
    ("comment: of a job", submitter::COMMENTS),
    ("consumed: forget", submitter::FORGET_CONSUMED),
    ("cancel: forget", change::FORGET_CANCEL),
];

/// A store with very many scheduled and finished jobs. The first ones come through the store, the others are copies.
async fn filled() -> (tempfile::TempDir, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taskwright.db");
    let store = Arc::new(SqliteStore::open(&path, Options::default()).unwrap());
    let process = Process::of(store.clone());
    let worker = process.worker(1).await;
    process.enqueue(0, (0..1_000).map(|n| NewJob { run_at: Some(at(9_999)), ..job(n) })).await;
    process.enqueue(0, jobs(1_000..2_000)).await;
    let claimed = worker.claim(worker.ask(1, 1_000)).await;
    // Half of them leave nothing but their times.
    let with = Outcome::Completed { result: Some("1".to_owned()) };
    let how = |job: &ClaimedJob| if number(job.id) < 1_500 { with.clone() } else { completed() };
    worker.finish(2, claimed.iter().map(|job| ending(2, job, how(job))).collect()).await;
    let conn = store.opened.connect_reader().unwrap();
    double(&Connection::open(path).unwrap()).unwrap();
    let count = |sql| conn.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM taskwright_waiting"), JOBS);
    assert_eq!(count("SELECT count(*) FROM taskwright_attempt"), JOBS / 2);
    assert_eq!(count("SELECT sum(hi - lo + 1) FROM taskwright_completion"), JOBS / 2);
    assert_eq!(count("SELECT count(*) FROM taskwright_job"), 2 * JOBS);
    (directory, conn)
}

/// Copies every job, with where it is and what it went through, again and again.
fn double(conn: &Connection) -> rusqlite::Result<()> {
    let columns = |table: &str| {
        let mut names = conn.prepare("SELECT name FROM pragma_table_info(?1)")?;
        names.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
    };
    let copied = |name: &String| match name.as_str() {
        "seq" | "lo" | "hi" => format!("{name} + ?1"),
        "id" => "randomblob(16)".to_owned(),
        _ => name.clone(),
    };
    conn.execute_batch("PRAGMA synchronous = off; PRAGMA cache_size = -400000; BEGIN")?;
    for _ in 0..DOUBLINGS {
        let last: i64 = conn.query_row("SELECT max(seq) FROM taskwright_job", [], |row| row.get(0))?;
        for table in ["taskwright_job", "taskwright_waiting", "taskwright_attempt", "taskwright_completion"] {
            let names = columns(table)?;
            let values: Vec<String> = names.iter().map(copied).collect();
            let (names, values) = (names.join(", "), values.join(", "));
            conn.execute(&format!("INSERT INTO {table} ({names}) SELECT {values} FROM {table}"), [last])?;
        }
    }
    conn.execute("UPDATE taskwright_counter SET value = (SELECT max(seq) + 1 FROM taskwright_job)", [])?;
    conn.execute_batch("COMMIT")
}

fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut explain = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // Parameters that are not bound are NULL; plans do not depend on them.
    let rows = explain.raw_query().mapped(|row| row.get("detail"));
    rows.collect::<Result<_, _>>().unwrap()
}

/// How often a statement is prepared again because other values are bound: that costs more than most of them take.
fn prepared_again(conn: &Connection, sql: &str) -> i32 {
    let mut statement = conn.prepare(sql).unwrap();
    for value in 0..3 {
        for index in 1..=statement.parameter_count() {
            // What is to be an array stays NULL.
            if !sql.contains(&format!("rarray(?{index})")) {
                statement.raw_bind_parameter(index, value).unwrap();
            }
        }
        // What would write is refused on this connection, and has been begun all the same.
        let _ = statement.raw_query().next();
    }
    statement.get_status(StatementStatus::RePrepare)
}

/// The steps of a plan that walk something that grows.
fn walks(plan: &[String]) -> Vec<&str> {
    let walked = |step: &&String| {
        step.strip_prefix("SCAN ")
            .is_some_and(|rest| !SMALL.contains(&rest.split(' ').next().unwrap_or(rest)))
    };
    plan.iter().filter(walked).map(String::as_str).collect()
}

fn searched() -> ArgsSearch {
    ArgsSearch::new(vec!["customer.id=42".parse().unwrap()]).unwrap()
}

fn filters() -> Vec<(&'static str, Filter)> {
    let states = |states: &[State]| Filter { states: states.to_vec(), ..Filter::default() };
    let mail = || vec![Pattern::new("mail")];
    vec![
        ("everything", Filter::default()),
        ("an id", Filter { ids: vec![id(7)], ..Filter::default() }),
        ("running", states(&[State::Running])),
        ("scheduled or failed", states(&[State::Scheduled, State::Failed])),
        ("completed", states(&[State::Completed])),
        ("of a kind", Filter { kinds: mail(), ..Filter::default() }),
        ("completed, of a kind", Filter { kinds: mail(), ..states(&[State::Completed]) }),
        ("since", Filter { created_from: Some(at(1)), ..Filter::default() }),
        ("asked to be cancelled", Filter { cancel_requested: Some(true), ..Filter::default() }),
        ("of a kind, by arguments", Filter { kinds: mail(), args: searched(), ..Filter::default() }),
    ]
}

/// The statements of listings: what gives the candidates for each filter, and what reads one job whole.
fn listings(conn: &Connection) -> Vec<(&'static str, String)> {
    let named = |(name, filter)| list::statements(conn, &filter).into_iter().map(move |sql| (name, sql));
    let mut all: Vec<_> = filters().into_iter().flat_map(named).collect();
    all.push(("collect: completed", collect::completed()));
    all.push(("collect: minutes", rollup::forget(taskwright_core::Grain::Minute)));
    all.push(("one job by number", format!("{} WHERE j.seq = ?1", query::view_query())));
    all.push(("one job by id", format!("{} WHERE j.id = ?1", query::view_query())));
    all.push(("collect: consumed", submitter::consumed()));
    all.push(("principals: token", identity::by_hash()));
    all.push(("principals: token of a name", identity::named()));
    all.push(("principals: tokens", identity::newest_tokens()));
    all.push(("principals: user", identity::by_name()));
    all.push(("principals: users", identity::users_after()));
    all.push(("principals: session", identity::session_by_hash()));
    all.push(("generator: one by name", generator::by_name()));
    all.push(("generator: take", generator::take_one()));
    all.push(("generator: outstanding items", generator::items_query()));
    all.push(("generator: settled items", generator::settled_query()));
    all
}

fn with_indent(name: &str, plan: &[String]) -> String {
    format!("{name}\n    {}\n", plan.join("\n    "))
}

#[tokio::test]
async fn no_statement_walks_what_grows_with_a_million_jobs_scheduled_and_a_million_finished() {
    let (directory, conn) = filled().await;
    let mut plans = String::new();
    for (name, sql) in STATEMENTS {
        let plan = plan(&conn, sql);
        assert!(walks(&plan).is_empty(), "{name}: {plan:?}");
        assert_eq!(prepared_again(&conn, sql), 0, "{name}");
        plans.push_str(&with_indent(name, &plan));
    }
    insta::assert_snapshot!("hot_paths", plans);

    let listings = listings(&conn);
    let mut plans = String::new();
    for (name, sql) in &listings {
        let plan = plan(&conn, sql);
        assert!(walks(&plan).is_empty(), "{name}: {sql} {plan:?}");
        assert_eq!(prepared_again(&conn, sql), 0, "{name}: {sql}");
        plans.push_str(&with_indent(name, &plan));
    }
    insta::assert_snapshot!("listings", plans);

    // Statistics, which anybody may have SQLite gather, must not turn a plan for the worse.
    let path = directory.path().join("taskwright.db");
    Connection::open(&path).unwrap().execute_batch("ANALYZE").unwrap();
    let listings = listings.into_iter().map(|(_, sql)| sql);
    for sql in STATEMENTS.iter().map(|(_, sql)| (*sql).to_owned()).chain(listings) {
        let plan = plan(&conn, &sql);
        assert!(walks(&plan).is_empty(), "{sql}: {plan:?}");
    }

    for sql in [
        "SELECT seq FROM taskwright_job WHERE owner = ?1",
        "SELECT j.seq FROM taskwright_job j JOIN taskwright_waiting w ON w.attempts = j.run_at",
        "SELECT seq FROM taskwright_ready WHERE seq = ?1",
    ] {
        assert!(!walks(&plan(&conn, sql)).is_empty(), "a walk goes unnoticed: {sql}");
    }
}

//! The examples (`examples/README.md`) are run as a reader would: each in an empty directory, to its end, which comes soon and is good. It
//! prints what it is to show, and leaves nothing behind.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::example;

/// Where the table is, from the root of the repository, and where the examples are.
const TABLE: &str = "examples/README.md";
const PLACES: [&str; 2] = ["crates/taskwright/examples", "crates/server/examples"];

/// How long an example may take, in seconds: what hangs is ended then. On a machine with nothing else to do, 4 s are enough for each.
const SECONDS_MAX: u32 = 60;

/// What an example needs that is not in it.
#[derive(Clone, Copy)]
enum Needs {
    Nothing,
    Arguments(&'static [&'static str]),
    #[cfg(feature = "postgres")]
    Postgres,
}

#[cfg(feature = "postgres")]
use Needs::Postgres;
use Needs::{Arguments, Nothing};

/// A test of each, and the list of all.
macro_rules! examples {
    ($list:ident { $($name:ident: $needs:expr, $printed:expr;)* }) => {
        const $list: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                ends_well(stringify!($name), $needs, &$printed);
            }
        )*
    };
}

examples!(HERE {
    attachments: Nothing, ["100000 rows are imported"];
    blocking: Nothing, ["the sum is 500000500000"];
    budget: Nothing, ["25 jobs, four at a time, and never two that are heavy"];
    bulk: Nothing, ["499 of 500 pages are rendered, 1 failed"];
    cancel_and_timeout: Nothing, ["home: cancelled by system: the disk is full; removing what was copied", "mail: timed out; removing what was copied"];
    commands: Nothing, ["two", "three", "one"];
    error_reporter: Nothing, ["wake up: import has failed for good"];
    events: Nothing, ["order 2 is large: 250"];
    exactly_once: Nothing, ["attempt 1", "attempt 2", "paid: 100 cents"];
    extractors: Nothing, ["Willkommen, Ada, says the shop at attempt 1", "Welcome, Ada, says the shop at attempt 1"];
    fault_injection: Nothing, ["  sent 2 times, run 1 time", "  attempt 2"];
    first_job: Nothing, ["Welcome, user 7"];
    follow_ups: Nothing, ["page 1 is indexed", "page 2 is indexed", "page 3 is indexed"];
    four_ways: Arguments(&["once"]), ["2380"];
    generator: Nothing, ["hello Ada", "hello Barbara"];
    in_child: Nothing, ["add: completed \"\\\"3 apples\\\"\""];
    killed_worker: Nothing, ["[Lost, Completed]"];
    middleware: Nothing, [];
    mount_api: Nothing, ["without a token: HTTP/1.1 401 Unauthorized", "with a token: HTTP/1.1 201 Created"];
    noop_rate: Arguments(&["1000"]), [];
    pause_queue: Nothing, ["while it is paused: 1", "after that: 1"];
    priorities: Nothing, ["bulk, of four hours ago", "realtime", "the number 1700", "default", "bulk"];
    producer: Nothing, ["2501 are done, 0.png among them"];
    progress_and_log: Nothing, ["1 of 50", "  50 rows are read"];
    renamed_task: Nothing, ["Welcome, Ada of the house Lovelace"];
    retries: Nothing, ["card.charge: completed", "card.refund: failed", "parcel.ship: completed"];
    schedules: Nothing, ["  the meter of 2026-01-04T00:00:00.000000Z", "  the report of the day"];
    services: Nothing, ["heartbeat was told to stop"];
    standby: Arguments(&["once"]), ["Hello, Ada"];
    steps: Nothing, ["  card 7 is charged", "  the parcel is shipped", "payment 1, parcel 1"];
    task_by_hand: Nothing, ["month 5, from the queue reports, at most 3 attempts"];
    testing_kit: Nothing, [];
    transaction_sqlite: Nothing, ["ordered: 1", "refused: what is ordered has no name", "1 order, 1 job"];
    unique_keys: Nothing, ["the invoice 1 again: existing = true, the invoice 2: existing = false"];
    waiting: Nothing, ["12 x 12 = 144", "100 are over"];
    webhooks: Nothing, ["told of job.completed: order.confirm"];
    worker_options: Nothing, ["  a mail", "  an urgent page"];
});

#[cfg(feature = "postgres")]
examples!(ON_POSTGRES {
    transaction_diesel: Postgres, ["ordered: 1", "1 job"];
    transaction_sqlx: Postgres, ["the order 1: 2 attempts, paid 1 time"];
    transaction_tokio_postgres: Postgres, ["ordered: 1", "1 job"];
});
#[cfg(not(feature = "postgres"))]
const ON_POSTGRES: &[&str] = &["transaction_diesel", "transaction_sqlx", "transaction_tokio_postgres"];

/// Those that go on until they are stopped, and have tests of their own.
const ELSEWHERE: &[&str] = &["five_minutes", "own_trigger"];

fn ends_well(name: &str, needs: Needs, printed: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", &SECONDS_MAX.to_string()])
        .arg(example(name))
        .current_dir(directory.path())
        .env("TMPDIR", directory.path())
        .stdin(Stdio::null());
    for name in ["TASKWRIGHT_STORE", "TASKWRIGHT_CONFIG", "TASKWRIGHT_RUN_DIR", "XDG_RUNTIME_DIR", "RUST_LOG"]
    {
        command.env_remove(name);
    }
    #[cfg(feature = "postgres")]
    let database;
    match needs {
        Nothing => {}
        Arguments(arguments) => {
            command.args(arguments);
        }
        #[cfg(feature = "postgres")]
        Postgres => {
            database = crate::support::cluster::Cluster::shared().database();
            command.env("DATABASE_URL", database.url());
        }
    }
    let ran = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{name}: {}\n{out}\n{err}", ran.status);
    let mut lines = out.lines();
    for line in printed {
        assert!(lines.any(|found| found == *line), "{name}: no {line:?} in its place in\n{out}\n{err}");
    }
    let left = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    // Stores that an example names without a directory, and where workers on PostgreSQL show each other that they live.
    let is_meant =
        |left: &str| left == ".taskwright" || left.starts_with("jobs.db") || left.starts_with("taskwright-");
    let left: Vec<String> =
        left.map(|name| name.into_string().unwrap()).filter(|left| !is_meant(left)).collect();
    assert!(left.is_empty(), "{name} leaves {left:?} behind");
}

#[test]
fn the_table_has_every_example_once_and_each_says_how_it_is_run() {
    let table = read(TABLE);
    let rows: Vec<(&str, &str, &str)> = table.lines().filter_map(row).collect();
    let listed: BTreeSet<&str> = rows.iter().map(|row| row.0).collect();
    assert_eq!(listed.len(), rows.len(), "one of them is listed twice");
    let run: BTreeSet<&str> = HERE.iter().chain(ON_POSTGRES).chain(ELSEWHERE).copied().collect();
    assert_same("is run here or elsewhere", &run, &listed);

    let there: BTreeSet<String> = PLACES.into_iter().flat_map(examples_in).collect();
    let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
    assert_same("is there", &there, &listed);
    for (name, file, needs) in rows {
        let text = read(&file.replacen("..", ".", 1));
        let package = if file.contains("crates/server/") { "taskwright-server" } else { "taskwright" };
        let feature =
            needs.split('`').nth(1).map_or_else(String::new, |feature| format!("--features {feature} "));
        let told = format!("-p {package} {feature}--example {name}");
        let head = head(&text);
        assert!(head.contains("cargo run ") && head.contains(&told), "{file} says: cargo run {told}");
    }
}

fn assert_same(what: &str, names: &BTreeSet<&str>, listed: &BTreeSet<&str>) {
    let odd: Vec<_> = names.symmetric_difference(listed).collect();
    assert!(odd.is_empty(), "what {what} and what {TABLE} has differ in {odd:?}");
}

/// The name, the file and the needs of a row of the table; `None` for any other line.
fn row(line: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = line.strip_prefix("| [`")?.split_once("`](")?;
    let (file, rest) = rest.split_once(')')?;
    Some((name, file, rest.trim_end_matches('|').rsplit('|').next()?.trim()))
}

/// The examples in a directory: a file each, or a directory with `main.rs`.
fn examples_in(place: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(place)).unwrap().map(|entry| entry.unwrap().path());
    let examples = entries
        .filter(|path| path.join("main.rs").exists() || path.extension().is_some_and(|end| end == "rs"));
    examples.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// What an example says about itself.
fn head(text: &str) -> String {
    text.lines().map_while(|line| line.strip_prefix("//!")).collect()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

//! While a newer program takes over, both work: the newer one's steps of the schema are applied under running processes of
//! this one, which go on without a fault, and new ones of this program are welcome until a step says otherwise.
//!
//! The steps stand here, as plain SQL that keeps the rules of docs/design/0008-schema-versions.md: the next release of this
//! program might have them.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use taskwright::store::sqlite::{self, rusqlite::Connection};
use taskwright::{JobId, State};

use crate::support::{Site, Up};

const SOON: Duration = Duration::from_secs(30);

/// A store whose schema takes steps that this program does not know.
trait Steps {
    fn site(&self) -> &Site;

    /// The newest version that this program knows.
    fn ours(&self) -> u32;

    /// Columns with defaults, a table, and what this database knows of functions: as a newer program would add them.
    fn add(&self);

    /// Shuts out whoever does not know the newest step.
    fn shut_out(&self);

    /// How often something that was added has been used.
    fn uses(&self) -> u64;
}

#[test]
fn an_older_program_works_on_a_newer_sqlite_file() {
    works_on(&File(Site::new()));
}

#[cfg(feature = "postgres")]
#[test]
fn an_older_program_works_on_a_newer_postgres_schema() {
    works_on(&postgres::Schema(Site::on_postgres()));
}

fn works_on(steps: &impl Steps) {
    let site = steps.site();
    let up = site.up(["--workers", "2", "--concurrency", "2"]);
    site.wait_until("both workers", SOON, || site.workers().len() == 2);
    let mut ids = enqueue(site, 100);
    ids.extend(enqueue_gates(site, 8));
    ids.extend(enqueue(site, 500));
    site.wait_until("some to have run", SOON, || completed(site) > 20);

    steps.add();
    let unfinished = ids.len() - completed(site);
    assert!(unfinished > 50, "the steps came too late: {unfinished} of the jobs were not over yet");
    std::fs::write(gate(site), "").unwrap();

    // New processes of this program find the newer schema, which the one that runs did not know when it began.
    ids.extend(enqueue(site, 100));
    let newest = steps.ours() + 2;
    let checked = site.run(["migrate", "--check"]);
    assert!(checked.contains(&format!("schema {newest}")), "{checked}");
    // It may find fault with a server that is made for tests.
    let doctor = site.taskwright(["doctor"]).output().unwrap();
    let told = String::from_utf8(doctor.stdout).unwrap();
    assert!(told.contains(&format!("schema {newest}")), "{told}");
    site.wait_until("all to complete", Duration::from_secs(120), || completed(site) == ids.len());
    stop_faultless(up);
    ids.extend(enqueue(site, 20));
    site.run(["worker", "--until-empty"]);
    assert_eq!(site.jobs(&[]).len(), ids.len());
    for job in site.jobs(&[]) {
        assert_eq!((job.state, job.attempt, &job.error), (State::Completed, 1, &None), "{job:?}");
    }
    assert!(steps.uses() > 0, "what was added is in use");

    steps.shut_out();
    let before = site.jobs(&[]).len();
    for args in [&["worker", "--until-empty"][..], &["jobs", "list"], &["enqueue", "exec", "--", "true"]] {
        refused(&site.taskwright([]).args(args).output().unwrap(), newest);
    }
    assert_eq!(site.jobs(&[]).len(), before);
}

/// Jobs that say something, and jobs that do not: their ends are written in different ways.
fn enqueue(site: &Site, count: usize) -> Vec<JobId> {
    let silent = r#"{"kind": "exec", "args": {"command": ["true"]}}"#;
    let talking =
        r#"{"kind": "exec", "args": {"command": ["echo", "hello"]}, "queue": "talk", "priority": 1500}"#;
    let lines: String =
        [silent, talking].iter().cycle().take(count).map(|line| format!("{line}\n")).collect();
    enqueue_lines(site, &lines)
}

/// Jobs that go on until the gate is open: more than there are slots, so that nobody comes past them before.
fn enqueue_gates(site: &Site, count: usize) -> Vec<JobId> {
    let script = format!("until [ -e '{}' ]; do sleep 0.02; done", gate(site).display());
    let gate = serde_json::json!({"kind": "exec", "args": {"command": ["sh", "-c", script]}});
    enqueue_lines(site, &format!("{gate}\n").repeat(count))
}

fn gate(site: &Site) -> PathBuf {
    site.path().join("open")
}

fn enqueue_lines(site: &Site, lines: &str) -> Vec<JobId> {
    std::fs::write(site.path().join("jobs.ndjson"), lines).unwrap();
    let printed = site.run(["enqueue", "--from-file", "jobs.ndjson"]);
    printed.lines().map(|line| line.parse().unwrap()).collect()
}

fn completed(site: &Site) -> usize {
    site.jobs(&[State::Completed]).len()
}

/// Stops it, and looks at what it has said meanwhile.
fn stop_faultless(up: Up) {
    let said = up.stop_and_read();
    // That a session was lost is about connections and not about the schema; docs/design/open.md has it.
    let said: Vec<String> =
        said.into_iter().filter(|line| !line.contains("the session by which other machines")).collect();
    let is_fault = |line: &&String| {
        ["error", "warn", "fail", "lost"].iter().any(|word| line.to_lowercase().contains(word))
    };
    assert_eq!(said.iter().find(is_fault), None, "{said:#?}");
}

fn refused(ran: &Output, newest: u32) {
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("programs for version {newest} or later")), "{said}");
}

/// A SQLite file.
struct File(Site);

impl File {
    fn open(&self) -> Connection {
        let conn = Connection::open(self.0.database()).unwrap();
        conn.busy_timeout(Duration::from_secs(30)).unwrap();
        conn
    }
}

impl Steps for File {
    fn site(&self) -> &Site {
        &self.0
    }

    fn ours(&self) -> u32 {
        sqlite::SCHEMA_VERSION
    }

    fn add(&self) {
        let ours = self.ours();
        self.open()
            .execute_batch(&format!(
                "BEGIN IMMEDIATE;
                 ALTER TABLE taskwright_job ADD COLUMN tag TEXT NOT NULL DEFAULT 'none';
                 CREATE TABLE taskwright_claimed (claims INTEGER NOT NULL) STRICT;
                 INSERT INTO taskwright_claimed VALUES (0);
                 CREATE TRIGGER taskwright_count_claims AFTER INSERT ON taskwright_block
                     BEGIN UPDATE taskwright_claimed SET claims = claims + 1; END;
                 INSERT INTO taskwright_migration VALUES ({}, 'tags', 'x', 0, {ours});
                 COMMIT;
                 BEGIN IMMEDIATE;
                 ALTER TABLE taskwright_attempt ADD COLUMN cost INTEGER NOT NULL DEFAULT 0;
                 INSERT INTO taskwright_migration VALUES ({}, 'costs', 'x', 0, {ours});
                 COMMIT;",
                ours + 1,
                ours + 2,
            ))
            .unwrap();
    }

    fn shut_out(&self) {
        self.open()
            .execute_batch(
                "UPDATE taskwright_migration SET usable_from = version
                 WHERE version = (SELECT max(version) FROM taskwright_migration)",
            )
            .unwrap();
    }

    fn uses(&self) -> u64 {
        self.open().query_row("SELECT claims FROM taskwright_claimed", [], |row| row.get(0)).unwrap()
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use taskwright::store::postgres::SCHEMA_VERSION;

    use super::{Site, Steps};

    /// A schema of a PostgreSQL database.
    pub(crate) struct Schema(pub(crate) Site);

    impl Schema {
        /// One step: one transaction, which waits for no table for long.
        fn step(&self, version: u32, sql: &str) {
            self.0.postgres().sql(&format!(
                "BEGIN; SET LOCAL search_path = taskwright; SET LOCAL lock_timeout = '5s'; {sql};
                 INSERT INTO migration VALUES ({version}, 'next', 'x', 0, {SCHEMA_VERSION}); COMMIT"
            ));
        }
    }

    impl Steps for Schema {
        fn site(&self) -> &Site {
            &self.0
        }

        fn ours(&self) -> u32 {
            SCHEMA_VERSION
        }

        fn add(&self) {
            // The claim as it is, but that it counts; and a second one of another shape beside it.
            self.step(
                SCHEMA_VERSION + 1,
                "ALTER TABLE job ADD COLUMN tag text NOT NULL DEFAULT 'none';
                 CREATE SEQUENCE claims;
                 DO $$ BEGIN
                     EXECUTE regexp_replace(pg_get_functiondef('claim'::regproc), '\\mBEGIN\\M',
                                            E'BEGIN\\n    PERFORM nextval(''claims'');');
                 END $$;
                 CREATE FUNCTION claim_tagged(who uuid, most bigint, only_tag text) RETURNS SETOF job
                     LANGUAGE sql AS 'SELECT * FROM job WHERE tag = only_tag LIMIT most'",
            );
            self.step(SCHEMA_VERSION + 2, "ALTER TABLE attempt ADD COLUMN cost bigint NOT NULL DEFAULT 0");
        }

        fn shut_out(&self) {
            self.0.postgres().sql(
                "UPDATE taskwright.migration SET usable_from = version
                 WHERE version = (SELECT max(version) FROM taskwright.migration)",
            );
        }

        fn uses(&self) -> u64 {
            self.0
                .postgres()
                .sql("SELECT last_value FROM taskwright.claims WHERE is_called")
                .parse()
                .unwrap_or(0)
        }
    }
}

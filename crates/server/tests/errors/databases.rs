//! The cases of a database server, a line each.

use crate::cases::Case;
use crate::cluster::{Cluster, Database, PASSWORD_GROUP};

/// A password that must not be seen.
pub(crate) const PASSWORD: &str = "hunter2";

/// A port where nobody listens: it belongs to a service that is none any more.
const NOBODY: &str = "127.0.0.1:1";

/// Databases for the cases.
pub(crate) struct Server {
    empty: Database<'static>,
    newer: Database<'static>,
    /// Of the version before ours, with a role that may work there and not migrate it.
    older: Database<'static>,
    worker: String,
    edited: Database<'static>,
    latin: Database<'static>,
    /// Has a store, a role without any right there, and one whose sessions are read-only.
    ready: Database<'static>,
    stranger: String,
    reader: String,
    member: String,
}

impl Server {
    pub(crate) fn new() -> Self {
        let cluster = Cluster::shared();
        let ready = cluster.database();
        let stranger = ready.role("stranger", "");
        let reader = ready.role("reader", "");
        ready.sql(&format!("ALTER ROLE {reader} SET default_transaction_read_only = on"));
        let member = ready.role("member", &format!("PASSWORD 'right' IN ROLE {PASSWORD_GROUP}"));
        let older = cluster.database();
        let worker = older.role("worker", "");
        let server = Self {
            empty: cluster.database(),
            newer: cluster.database(),
            older,
            worker,
            edited: cluster.database(),
            latin: cluster.database_by("ENCODING LATIN1 LOCALE 'C' TEMPLATE template0"),
            ready,
            stranger,
            reader,
            member,
        };
        for database in [&server.ready, &server.newer, &server.older, &server.edited] {
            migrate(&database.url(), &[]);
        }
        migrate(&server.older.url(), &["--grant", &server.worker]);
        let newest = taskwright::store::postgres::SCHEMA_VERSION;
        server.older.sql(&format!("DELETE FROM taskwright.migration WHERE version = {newest}"));
        server.newer.sql("INSERT INTO taskwright.migration VALUES (9999, 'later', 'x', 0, 9999)");
        server.edited.sql("UPDATE taskwright.migration SET checksum = 'x' WHERE version = 1");
        server
    }

    pub(crate) fn cases(&self) -> Vec<Case> {
        let password = |role: &str| self.ready.url_of(&format!("{role}:{PASSWORD}"));
        vec![
            Case::new("no server at that port", 1, "jobs list")
                .on(format!("postgres://me:{PASSWORD}@{NOBODY}/jobs")),
            Case::new("no server at that port, up", 1, "up")
                .on(format!("postgres://me:{PASSWORD}@{NOBODY}/jobs")),
            Case::new("no server at that socket", 1, "jobs list").on("postgres://me@%2Fnowhere/jobs"),
            Case::new("no such database", 1, "jobs list")
                .on(self.ready.url().replace(self.ready.name(), "no_such")),
            Case::new("no such user", 1, "jobs list").on(self.ready.url_of("no_such")),
            Case::new("wrong password", 1, "jobs list").on(password(&self.member)),
            Case::new("no password", 1, "up").on(self.ready.url_of(&self.member)),
            Case::new("an encoding that cannot hold everything", 1, "migrate").on(self.latin.url()),
            Case::new("a server that takes no writes", 1, "up").on(self.ready.url_of(&self.reader)),
            Case::new("no schema yet, list", 1, "jobs list").on(self.empty.url()),
            Case::new("no schema yet, check", 1, "migrate --check").on(self.empty.url()),
            Case::new("no right to use the schema", 1, "enqueue exec -- ls")
                .on(self.ready.url_of(&self.stranger)),
            Case::new("no right to make the schema", 1, "migrate")
                .on(format!("{}?schema=other", self.ready.url_of(&self.stranger))),
            Case::new("newer schema, list", 1, "jobs list").on(self.newer.url()),
            Case::new("newer schema, up", 1, "up").on(self.newer.url()),
            Case::new("newer schema, check", 1, "migrate --check").on(self.newer.url()),
            Case::new("newer schema, dry run", 1, "migrate --dry-run").on(self.newer.url()),
            Case::new("older schema and a role that may not migrate, worker", 1, "worker")
                .on(self.older.url_of(&self.worker)),
            Case::new("older schema and a role that may not migrate, migrate", 1, "migrate")
                .on(self.older.url_of(&self.worker)),
            Case::new("older schema, check", 1, "migrate --check").on(self.older.url_of(&self.worker)),
            Case::new("a migration that was edited", 1, "migrate").on(self.edited.url()),
            Case::new("grants to nobody", 1, "migrate --grant no_such").on(self.ready.url()),
            Case::new("grants by a stranger", 1, format!("migrate --grant {}", self.reader))
                .on(self.ready.url_of(&self.stranger)),
            Case::new("grants on a file", 2, "migrate --grant me"),
            Case::new("run directory below a file", 1, "--run-dir /dev/null/run jobs list")
                .on(self.ready.url()),
            Case::new("URL without a host", 2, "jobs list").on("postgres:///jobs"),
            Case::new("URL with an unknown parameter", 2, "jobs list").on("postgres://me@host/jobs?shcema=a"),
            Case::new("URL with a wrong number", 2, "jobs list").on("postgres://me@host/jobs?pool=many"),
            Case::new("URL with a schema of PostgreSQL", 2, "jobs list")
                .on("postgres://me@host/jobs?schema=pg_x"),
            Case::new("URL with an unknown mode", 2, "jobs list").on("postgres://me@host/jobs?sslmode=maybe"),
            Case::new("URL with an unencoded password", 2, "jobs list")
                .on(format!("postgres://me:pa@{PASSWORD}?word@host/jobs")),
            Case::new("authority that is no file", 1, "jobs list")
                .on(format!("postgres://me@{NOBODY}/jobs?sslmode=verify-full&sslrootcert=/nowhere.pem")),
        ]
    }

    /// Without what differs from run to run.
    pub(crate) fn nameless(&self, text: &str) -> String {
        let url = self.ready.url();
        let host = url.split(['@', '/']).find(|part| part.starts_with("%2F")).unwrap();
        let ours = taskwright::store::postgres::SCHEMA_VERSION;
        let mut text = text
            .replace(host, "SERVER")
            .replace(&format!("this one is for version {ours}\n"), "this one is for version N\n")
            .replace(&format!("this program needs version {ours},"), "this program needs version N,")
            .replace(&format!("and this program's has {ours}\n"), "and this program's has N\n")
            .replace(&format!("schema version {ours}\n"), "schema version N\n");
        // Numbers may be left out: the step before ours is one of these.
        for before in [ours - 1, ours - 2] {
            text = text
                .replace(&format!("from {before} to {ours}\n"), "from N-1 to N\n")
                .replace(&format!("version {before}\n"), "version N-1\n")
                .replace(&format!("has version {before},"), "has version N-1,");
        }
        for database in [&self.empty, &self.newer, &self.older, &self.edited, &self.latin, &self.ready] {
            text = text.replace(database.name(), "NAME");
        }
        text
    }
}

fn migrate(url: &str, options: &[&str]) {
    let mut migrate = std::process::Command::new(env!("CARGO_BIN_EXE_taskwright"));
    assert!(
        migrate.args(["migrate", "--quiet", "--store", url]).args(options).output().unwrap().status.success()
    );
}

//! The checks of a database server: can it be used, and is it set up so that nothing gets lost?

use std::time::Duration;

use taskwright::Env;
use taskwright_core::Timestamp;
use taskwright_store::postgres::{self, Connections, Health, SCHEMA_VERSION, Settings};

use super::{Check, fine, wrong};
use crate::store_url::{PostgresUrl, StoreUrl};
use crate::text;

/// How far two clocks may be apart: what people see is by either of them.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(1);

/// How long a transaction may be open: nothing that was deleted meanwhile can be cleared away.
const TRANSACTION_MAX: Duration = Duration::from_secs(300);

/// Looks at the server, if there is one. Whether the store can be opened: otherwise the rest cannot be looked at.
///
/// # Errors
///
/// When it answers at first, and then not any more.
pub(crate) async fn look(
    url: &StoreUrl,
    env: &Env,
    checks: &mut Vec<Check>,
) -> Result<bool, taskwright_store::Error> {
    let StoreUrl::Postgres(url) = url else { return Ok(true) };
    let settings = url.settings();
    let connections = match Connections::open(settings.clone()).await {
        Ok(connections) => connections,
        Err(error) => {
            checks.push(wrong("server", format!("{}: {}", settings.url(), error.why()), error.fix()));
            return Ok(false);
        }
    };
    checks.push(fine("server", format!("{}, {}", settings.url(), connections.engine())));
    checks.push(protection(url));
    let schema = schema(settings, postgres::applied(&connections).await);
    let before = env.machine_now();
    let health = postgres::health(&connections).await?;
    let after = env.machine_now();
    let role = role(&health);
    let usable = schema.ok && role.ok;
    checks.extend([schema, role, clock(before, health.clock, after), durable(&health)]);
    checks.extend([failover(&health), vacuum(&health)]);
    connections.close();
    Ok(usable)
}

fn protection(url: &PostgresUrl) -> Check {
    let settings = url.settings();
    match url.weakness() {
        None if settings.is_local() => fine("tls", "the server is this machine"),
        None => fine("tls", "the server shows a certificate that is checked (verify-full)"),
        Some(weakness) => wrong(
            "tls",
            weakness,
            "write sslmode=verify-full in the URL; sslrootcert=FILE names the authority",
        ),
    }
}

fn schema(settings: &Settings, applied: Result<Option<u32>, taskwright_store::Error>) -> Check {
    let name = settings.schema();
    let migrate = "run `taskwright migrate` as the owner of the schema";
    match applied {
        Ok(Some(SCHEMA_VERSION)) => fine("schema", format!("{name}, version {SCHEMA_VERSION}")),
        Ok(Some(version)) if version > SCHEMA_VERSION => fine(
            "schema",
            format!("{name}, version {version}; this program is for {SCHEMA_VERSION}, and may use it"),
        ),
        Ok(Some(version)) => wrong(
            "schema",
            format!("{name} has version {version}, and this program's has {SCHEMA_VERSION}"),
            migrate,
        ),
        Ok(None) => wrong("schema", format!("the database has no schema {name} yet"), migrate),
        Err(error) => wrong("schema", format!("{}: {}", error.what(), error.why()), error.fix()),
    }
}

fn role(health: &Health) -> Check {
    match health.tables_refused.as_slice() {
        [] => fine("role", format!("{} may read and write", text::one_line(&health.role))),
        tables => wrong(
            "role",
            format!("{} may not read and write {}", text::one_line(&health.role), tables.join(", ")),
            format!("run `taskwright migrate --grant {}` as the owner of the schema", health.role),
        ),
    }
}

/// The server's clock was read at some moment between two of ours.
fn clock(before: Timestamp, server: Timestamp, after: Timestamp) -> Check {
    let (ahead, behind) = (server.since(after), before.since(server));
    let (apart, word) = if ahead >= behind { (ahead, "ahead of") } else { (behind, "behind") };
    if apart <= CLOCKS_APART_MAX {
        return fine("clock", "the server's and this machine's agree");
    }
    wrong(
        "clock",
        format!("the server's is {} {word} this machine's", text::duration(apart)),
        "have both set by NTP: `timedatectl set-ntp true`",
    )
}

fn durable(health: &Health) -> Check {
    let loses = [
        (&health.fsync, "fsync"),
        (&health.full_page_writes, "full_page_writes"),
        (&health.synchronous_commit, "synchronous_commit"),
    ];
    let off: Vec<&str> = loses.iter().filter(|(value, _)| *value == "off").map(|(_, name)| *name).collect();
    match off.as_slice() {
        [] => fine("durable", "what is acknowledged is on the disk"),
        off => wrong(
            "durable",
            format!(
                "acknowledged jobs are lost when the server crashes or its power fails: {} is off",
                off.join(", ")
            ),
            "switch it on in postgresql.conf, or for the role: ALTER ROLE ... RESET synchronous_commit",
        ),
    }
}

/// Whether a standby that takes over has everything that was acknowledged.
fn failover(health: &Health) -> Check {
    let waits = !health.synchronous_standby_names.is_empty()
        && !["off", "local"].contains(&health.synchronous_commit.as_str());
    match health.standbys {
        _ if waits => fine(
            "failover",
            format!("a commit waits for a standby: {}", text::one_line(&health.synchronous_standby_names)),
        ),
        0 => fine("failover", "no standby follows that could take over"),
        standbys => wrong(
            "failover",
            format!(
                "acknowledged jobs are lost when a standby takes over that has not got them yet: no commit waits for \
                 any of {}",
                text::count(usize::try_from(standbys).unwrap_or(usize::MAX), "standby")
            ),
            "set synchronous_standby_names on the server (Patroni: synchronous_mode: true), and synchronous_commit to on",
        ),
    }
}

fn vacuum(health: &Health) -> Check {
    let open = Duration::from_secs(health.oldest_transaction_s);
    if health.autovacuum == "off" {
        return wrong(
            "vacuum",
            "what is deleted is never cleared away: autovacuum is off".to_owned(),
            "switch autovacuum on in postgresql.conf",
        );
    }
    if open > TRANSACTION_MAX {
        return wrong(
            "vacuum",
            format!(
                "a transaction has been open for {}: what is deleted meanwhile stays",
                text::duration(open)
            ),
            "see whose it is (pg_stat_activity, pg_prepared_xacts), and end it",
        );
    }
    fine("vacuum", "nothing holds it up")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        let on = || "on".to_owned();
        Health {
            role: "worker".to_owned(),
            clock: Timestamp::from_micros(0),
            fsync: on(),
            full_page_writes: on(),
            synchronous_commit: on(),
            autovacuum: on(),
            synchronous_standby_names: String::new(),
            standbys: 0,
            tables_refused: Vec::new(),
            oldest_transaction_s: 0,
        }
    }

    #[test]
    fn clocks_that_are_more_than_a_second_apart_are_told() {
        let at = |ms: i64| Timestamp::from_micros(1_700_000_000_000_000 + ms * 1_000);
        assert!(clock(at(0), at(-900), at(5)).ok);
        assert!(clock(at(0), at(1_000), at(5)).ok);
        let ahead = clock(at(0), at(61_500), at(5));
        assert!(!ahead.ok && ahead.found.contains("61 s ahead of"), "{}", ahead.found);
        assert!(clock(at(0), at(-2_000), at(5)).found.contains("2 s behind"));
    }

    #[test]
    fn whatever_may_lose_an_acknowledged_job_is_told() {
        assert!(durable(&health()).ok);
        let off = || "off".to_owned();
        for weak in [
            Health { fsync: off(), ..health() },
            Health { full_page_writes: off(), ..health() },
            Health { synchronous_commit: off(), ..health() },
        ] {
            assert!(!durable(&weak).ok, "{weak:?}");
        }
        assert!(durable(&Health { synchronous_commit: "remote_apply".to_owned(), ..health() }).ok);
    }

    #[test]
    fn a_standby_that_may_lack_an_acknowledged_job_is_told() {
        let names = || "FIRST 1 (db2)".to_owned();
        assert!(failover(&health()).ok, "nobody takes over");
        let followed = Health { standbys: 2, ..health() };
        assert!(!failover(&followed).ok);
        assert!(failover(&Health { synchronous_standby_names: names(), ..followed.clone() }).ok);
        for waits_for_nobody in ["off", "local"] {
            let synchronous_commit = waits_for_nobody.to_owned();
            let health =
                Health { synchronous_standby_names: names(), synchronous_commit, ..followed.clone() };
            assert!(!failover(&health).ok, "{waits_for_nobody}");
        }
    }

    #[test]
    fn what_holds_up_the_vacuum_is_told() {
        assert!(vacuum(&health()).ok);
        assert!(!vacuum(&Health { autovacuum: "off".to_owned(), ..health() }).ok);
        assert!(!vacuum(&Health { oldest_transaction_s: 3_600, ..health() }).ok);
    }

    #[test]
    fn an_unverified_server_elsewhere_is_told_and_one_here_is_not() {
        let of = |url: &str| match StoreUrl::parse(url).unwrap() {
            StoreUrl::Postgres(url) => protection(&url),
            other => panic!("{other}"),
        };
        assert!(of("postgres://me@db.example.com/jobs").ok);
        assert!(!of("postgres://me@db.example.com/jobs?sslmode=require").ok);
        assert!(of("postgres://me@localhost/jobs?sslmode=disable").ok);
    }
}

//! The store in a schema of a PostgreSQL database, for many processes on many machines.
//!
//! | file | what |
//! |---|---|
//! | `url` | what a `postgres://` URL says |
//! | `tls` | whom to believe |
//! | `connect` | the pool, and how every transaction is set up |
//! | `schema` | migrations, and what a worker's role may do |
//! | `error` | what the server's errors mean |
//! | `session` | one transaction: statements, lanes |
//! | `store` | the trait: each call a transaction, repeated when it met another |
//! | `enqueue`, `claim`, `finish`, `change`, `sweep`, `worker`, `lead` | what calls do |
//! | `schedule`, `event`, `generator`, `bulk` | what calls do about schedules, what they fired, events, generators, bulk jobs |
//! | `held`, `streamed`, `copy` | the hot path: which blocks jobs are in, completions, bulk inserts |
//! | `unanswered` | claims whose answers were lost |
//! | `place` | where a job is: the one way into each of the tables that say so |
//! | `query`, `list`, `timeline`, `history`, `completions` | reading |
//! | `restored` | a schema that was restored from another server |
//! | `wake`, `listen` | hints between processes |
//! | `health` | what an operator should know about the server |
//! | `raw`, `past`, `leftover` | benchmarks: the yardstick, finished jobs by the million, what a killed one left behind |
//! | `reach` | which of several hosts is connected to |
//! | `run_directory` | where the workers of one machine meet |
//! | `tether`, `absence` | how those of different machines see each other's end |
//! | `stuck` | lost workers whose jobs cannot go on for now |
//!
//! Nothing is kept in a session between transactions, so that a PgBouncer in transaction mode may stand between
//! (`pgbouncer=true`; see `connect`).

mod absence;
mod attachment;
mod audit;
mod bulk;
mod change;
mod claim;
mod collect;
mod completions;
mod connect;
mod copy;
mod enqueue;
mod error;
mod event;
mod file;
mod finish;
mod generator;
mod glance;
mod health;
mod held;
mod history;
mod identity;
mod lead;
mod leftover;
mod list;
mod listen;
mod moves;
mod near;
mod notifications;
mod past;
mod place;
mod query;
mod raw;
mod reach;
mod rest;
mod restored;
mod rollup;
mod run_directory;
mod schedule;
mod schema;
mod service;
mod session;
mod source;
mod step;
mod store;
mod streamed;
mod stuck;
mod subject;
mod submitter;
mod sweep;
mod table;
mod tether;
mod timeline;
mod tls;
mod unanswered;
mod url;
mod wake;
mod webhook;
mod whereabouts;
mod worker;

pub use connect::{Connection, Connections, Parameters, Transaction};
pub use health::{Health, health};
pub use leftover::Leftover;
pub use notifications::Notifications;
pub use raw::{HeldSnapshot, Log, Range, Tables};
pub use schema::{VERSION as SCHEMA_VERSION, applied, grant, migrate, pending_sql};
pub use store::PostgresStore;
/// The driver, whose types are in the interface.
pub use tokio_postgres;
pub use url::{Protection, Settings, schema_of};

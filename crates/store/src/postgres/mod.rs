//! The PostgreSQL store's foundation: connections, errors, migrations. The store itself is not here yet.
//!
//! | file | what |
//! |---|---|
//! | `url` | what a `postgres://` URL says |
//! | `tls` | whom to believe |
//! | `connect` | the pool, and how every transaction is set up |
//! | `schema` | migrations, and what a worker's role may do |
//! | `error` | what the server's errors mean |
//!
//! Nothing is kept in a session between transactions, so that a PgBouncer in transaction mode may stand between
//! (`pgbouncer=true`; see `connect`).

mod connect;
mod error;
mod schema;
mod tls;
mod url;

pub use connect::{Connection, Connections, Parameters, Transaction};
pub use schema::{VERSION as SCHEMA_VERSION, applied, grant, migrate, pending_sql};
/// The driver, whose types are in the interface.
pub use tokio_postgres;
pub use url::{Protection, Settings};

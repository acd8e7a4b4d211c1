//! The same site, whose store is in a database of a private PostgreSQL.

use std::sync::Arc;

use taskwright::Env;
use taskwright::store::postgres::{PostgresStore, Settings};

use super::cluster::{Cluster, Database};
use super::{Site, runtime};

impl Site {
    /// A site with a database of its own, on the server of ordinary tests.
    pub fn on_postgres() -> Self {
        Self::in_database(Cluster::shared().database())
    }

    /// A site whose store is in this database.
    pub fn in_database(database: Database<'static>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (env, runtime, run_dir) = (Env::system(), runtime(), directory.path().join("run"));
        let settings = Settings::parse(&database.url()).unwrap();
        let store = runtime.block_on(PostgresStore::open(settings, &run_dir, env.now())).unwrap();
        let variables = vec![
            ("TASKWRIGHT_STORE", database.url()),
            ("TASKWRIGHT_RUN_DIR", run_dir.to_str().unwrap().to_owned()),
        ];
        Self { directory, store: Arc::new(store), runtime, env, variables, database: Some(database) }
    }

    /// The database of the store.
    pub fn postgres(&self) -> &Database<'static> {
        self.database.as_ref().unwrap()
    }
}

//! `migrate`.

use clap::Args;

use super::Context;
use crate::error::{Error, Exit};

/// Creates or migrates the store.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright migrate
  taskwright migrate --store sqlite:/var/lib/taskwright/jobs.db

Every command migrates the store when it opens it; this one does nothing else.")]
pub(super) struct Migrate {}

impl Migrate {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let info = context.store_or_new()?.info();
        if context.output.is_json() {
            context.output.json(&info)?;
        } else {
            context.output.line(format!("{}  schema {}  {}", info.url, info.schema, info.engine))?;
        }
        Ok(Exit::Ok)
    }
}

//! `migrate`.

use clap::Args;
use serde_json::json;

use super::Context;
use crate::error::{Error, Exit};

/// Creates or migrates the store.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright migrate
  taskwright migrate --store sqlite:/var/lib/taskwright/jobs.db
  taskwright migrate --check                     exits 1 if there is work to do

Every command migrates the store when it opens it; this one does nothing else.")]
pub(super) struct Migrate {
    /// Change nothing; exit 0 if the store has this program's version
    #[arg(long)]
    check: bool,
}

impl Migrate {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        if self.check {
            return check(context);
        }
        let info = context.store_or_new()?.info();
        if context.output.is_json() {
            context.output.json(&info)?;
        } else {
            context.output.line(format!("{}  schema {}  {}", info.url, info.schema, info.engine))?;
        }
        Ok(Exit::Ok)
    }
}

fn check(context: &Context) -> Result<Exit, Error> {
    let (found, ours) = match context.open_store() {
        Some(store) => (Some(store.info().schema), store.info().schema),
        None => context.store_url.schema_version()?,
    };
    let url = &context.store_url;
    let refuse = |why: String, fix: String| Err(Error::operational(format!("the store {url}"), why, fix));
    match found {
        Some(version) if version == ours => {}
        Some(version) => {
            return refuse(
                format!("its schema has version {version}, and this program's has {ours}"),
                format!("run `taskwright migrate`: it brings the store from {version} to {ours}"),
            );
        }
        None => {
            return refuse(
                "there is no store there yet".to_owned(),
                format!("run `taskwright migrate`: it creates one of schema version {ours}"),
            );
        }
    }
    if context.output.is_json() {
        context.output.json(&json!({ "url": url.to_string(), "schema": ours }))?;
    } else {
        context.output.line(format!("{url}  schema {ours}  up to date"))?;
    }
    Ok(Exit::Ok)
}

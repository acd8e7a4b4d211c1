//! `migrate`.

use clap::Args;
use serde_json::json;

use super::Context;
use crate::error::{Error, Exit};
use crate::text;

/// Creates or migrates the store.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright migrate
  taskwright migrate --store sqlite:/var/lib/taskwright/jobs.db
  taskwright migrate --check                     exits 1 if there is work to do
  taskwright migrate --dry-run > pending.sql     for whoever runs it by hand
  taskwright migrate --grant worker --store postgres://owner@db/jobs

Every command migrates the store when it opens it; this one does nothing else.")]
pub(super) struct Migrate {
    /// Change nothing; exit 0 if the store has this program's version, or a newer one that it may use
    #[arg(long)]
    check: bool,
    /// Change nothing; print the SQL that would be run
    #[arg(long, conflicts_with = "check")]
    dry_run: bool,
    /// Then let a role of the database run workers, and no more
    #[arg(long, value_name = "ROLE", conflicts_with_all = ["check", "dry_run"])]
    grant: Option<String>,
}

impl Migrate {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        if self.check {
            return check(context).await;
        }
        if self.dry_run {
            return dry_run(context).await;
        }
        let info = match context.open_store() {
            Some(store) => store.info(),
            None => context.store_url.migrate(context.env.now()).await?,
        };
        if let Some(role) = &self.grant {
            context.store_url.grant(role).await?;
        }
        if context.output.is_json() {
            context.output.json(&info)?;
        } else {
            context.output.line(format!("{}  schema {}  {}", info.url, info.schema, info.engine))?;
        }
        if let Some(role) = &self.grant {
            context.output.flush()?;
            context.output.note(format!("the role {} may run workers on it", text::one_line(role)));
        }
        Ok(Exit::Ok)
    }
}

async fn dry_run(context: &Context) -> Result<Exit, Error> {
    let sql = match context.open_store() {
        // It was migrated when it was opened.
        Some(_) => String::new(),
        None => context.store_url.pending_sql().await?,
    };
    if context.output.is_json() {
        context.output.json(&json!({ "url": context.store_url, "sql": sql }))?;
    } else if sql.is_empty() {
        context.output.note(format!("{} is up to date", context.store_url));
    } else {
        context.output.line(sql.trim_end())?;
    }
    Ok(Exit::Ok)
}

async fn check(context: &Context) -> Result<Exit, Error> {
    let (found, ours) = match context.open_store() {
        Some(store) => (Some(store.info().schema), store.info().schema),
        None => context.store_url.schema_version().await?,
    };
    let url = &context.store_url;
    let refuse = |why: String, fix: String| Err(Error::operational(format!("the store {url}"), why, fix));
    // A newer one that this program may not use was refused when it was looked at.
    let found = match found {
        Some(version) if version >= ours => version,
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
    };
    if context.output.is_json() {
        context.output.json(&json!({ "url": url.to_string(), "schema": found }))?;
    } else {
        context.output.line(format!("{url}  schema {found}  up to date"))?;
    }
    Ok(Exit::Ok)
}

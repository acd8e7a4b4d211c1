//! `bulk create`.

use std::path::PathBuf;

use ::http::Method;
use clap::Args;
use serde_json::{Map, Value, json};
use taskwright::bulk::{Bulk, OnFailure};
use taskwright_core::limit::{ARGS_BYTES_MAX, BULK_PARAMS_BYTES_MAX};
use taskwright_core::{Args as JobArgs, Kind, Owner, Priority};

use crate::cli::Context;
use crate::cli::enqueue::text_of_flag;
use crate::error::{Error, Exit};
use crate::http::BulkRequest;
use crate::remote::{self, Remote};

/// Creates a bulk.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright bulk create exec --size 100 --args '{\"command\": [\"echo\", \"{index}\"]}'
  taskwright bulk create exec --lines urls.txt --args '{\"command\": [\"wget\", \"{line}\"]}'
  taskwright bulk create mail --lines mails.ndjson --any-kind --on-failure 1%
  taskwright bulk create --type newsletter --params '{\"issue\": 7}'

In --args, {index} is the number of the item, from 0 on, and {line} the text of
the line. Without --args a line is JSON, the arguments of its item. The file of
--lines must stay as it is, and be there wherever `up` runs.")]
pub(super) struct Create {
    /// The task of the items
    #[arg(required_unless_present = "type", conflicts_with = "type")]
    kind: Option<String>,
    /// So many items
    #[arg(long, value_name = "N", required_unless_present_any = ["lines", "type"], conflicts_with = "lines")]
    size: Option<u64>,
    /// One item of each line of a file
    #[arg(long, value_name = "FILE")]
    lines: Option<PathBuf>,
    /// A template of their arguments: JSON, @FILE or `-`
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// How often each is executed at most
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// Accept kinds that only another program runs
    #[arg(long)]
    any_kind: bool,
    /// Another type of bulk, of a program's own
    #[arg(long, value_name = "NAME", conflicts_with_all = ["size", "lines", "args", "max_attempts"])]
    r#type: Option<String>,
    /// What that type makes its items of: JSON, @FILE or `-`
    #[arg(long, value_name = "JSON", requires = "type")]
    params: Option<String>,
    /// realtime, high, default, bulk, idle, or a number [default: bulk]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    priority: Option<Priority>,
    /// Items made and not over at a time, 1 to 10000 [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    window: Option<u32>,
    /// continue, stop, or how many may fail: 100 or 5% [default: continue]
    #[arg(long, value_name = "POLICY")]
    on_failure: Option<OnFailure>,
    /// Whose it is, and in whose name the items run
    #[arg(long, value_name = "NAME")]
    owner: Option<Owner>,
}

impl Create {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        context.find_tasks().await?;
        let (kind, params) = self.params(context)?;
        if let Some(server) = context.server() {
            return self.ask(context, server, &kind, params).await;
        }
        let mut bulk = Bulk::new(&kind).params(&params)?.namespace(context.namespace_or_default());
        if let Some(priority) = self.priority {
            bulk = bulk.priority(priority);
        }
        if let Some(window) = self.window {
            bulk = bulk.window(window);
        }
        if let Some(policy) = self.on_failure {
            bulk = bulk.on_failure(policy);
        }
        if let Some(owner) = self.owner {
            bulk = bulk.author(owner);
        }
        let id = context.client_or_new().await?.bulks(context.app.bulks()).create(bulk).await?;
        match context.output.is_json() {
            true => context.output.json(&crate::answer::bulk::Created { id })?,
            false => context.output.line(id.to_string())?,
        }
        Ok(Exit::Ok)
    }

    /// The same over HTTP: it is the server that makes the parent, and its id.
    async fn ask(self, context: &Context, server: &Remote, kind: &str, params: Value) -> Result<Exit, Error> {
        let bulk = BulkRequest {
            kind: kind.parse()?,
            params,
            priority: self.priority,
            window: self.window,
            on_failure: self.on_failure,
            owner: self.owner,
        };
        let (path, namespace) = ("/api/v1/bulk", context.namespace_or_default());
        let asked = server.ask(Method::POST, path, Some(&namespace), &remote::NOTHING, Some(&bulk), &[]);
        let Some(made): Option<crate::answer::bulk::Created> = asked.await? else {
            return Err(server.not_offered("creating a bulk").into());
        };
        match context.output.is_json() {
            true => context.output.json(&made)?,
            false => context.output.line(made.id.to_string())?,
        }
        Ok(Exit::Ok)
    }

    /// The type of bulk, and its parameters.
    fn params(&self, context: &Context) -> Result<(String, Value), Error> {
        if let Some(kind) = &self.r#type {
            let params = json_of(context, "--params", self.params.as_deref(), BULK_PARAMS_BYTES_MAX)?;
            return Ok((kind.clone(), params.unwrap_or(Value::Null)));
        }
        // One of the two is there, or clap would have refused the command.
        let kind = self.kind.as_deref().unwrap_or_default();
        let checked = Kind::new(kind)?;
        if !self.any_kind {
            context.check_kind(kind)?;
        }
        let mut params = Map::from_iter([("kind".to_owned(), Value::from(kind))]);
        if let Some(args) = json_of(context, "--args", self.args.as_deref(), ARGS_BYTES_MAX)? {
            // A placeholder is a text in a text: what could not run with it could not run with what fills it.
            crate::submit::check_args(context.task_config(), &checked, &JobArgs::of(&args)?)?;
            params.insert("args".to_owned(), args);
        }
        let most = self.max_attempts;
        if let Some(most) = most.or_else(|| crate::submit::attempts_of_items(context.task_config(), kind)) {
            params.insert("max_attempts".to_owned(), most.into());
        }
        let name = match (&self.lines, self.size) {
            (Some(path), _) => {
                params.insert("path".to_owned(), json!(path));
                "lines"
            }
            (None, size) => {
                params.insert("size".to_owned(), size.unwrap_or(0).into());
                "count"
            }
        };
        Ok((name.to_owned(), Value::Object(params)))
    }
}

/// A flag as JSON, if it was given.
fn json_of(
    context: &Context,
    flag: &str,
    given: Option<&str>,
    bytes_max: usize,
) -> Result<Option<Value>, Error> {
    let Some(given) = given else { return Ok(None) };
    let text = text_of_flag(context, flag, given, bytes_max)?;
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        Error::usage(flag, format!("it is not JSON: {error}"), r#"write it like '{"page": "{index}"}'"#)
    })
}

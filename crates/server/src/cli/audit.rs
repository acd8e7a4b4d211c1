//! `audit`: who did what to what, and whether that was changed since.

use clap::{Args, Subcommand};
use http::Method;
use taskwright_core::audit::Place;
use taskwright_store::{AuditFilter, AuditView, Pattern};

use super::{Context, value};
use crate::answer::audit::Verified;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::remote::NO_BODY;
use crate::text;

/// Entries of a page.
const PAGE: usize = 500;
/// Entries that a terminal gets unless it says otherwise.
const SEEN_MAX: usize = 50;

/// Looks at the audit.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright audit list
  taskwright audit list --who alice --after 7d --json
  taskwright audit verify

Whatever a principal changes leaves an entry, in the same transaction. The
entries are a chain of hashes: nobody can change one, or leave one out, without
a trace.")]
pub(super) struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List entries, the newest first
    List(List),
    /// Walk the chain, and tell where it is broken
    Verify(Verify),
}

/// Lists entries.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright audit list
  taskwright audit list --action 'tokens.*' --json
  taskwright audit list --who token:ci@shop --object ID --after 24h

`*` stands for anything; case does not matter. A terminal gets 50 unless -n
says otherwise.")]
struct List {
    /// By this principal: alice, token:NAME@NAMESPACE
    #[arg(long, value_name = "NAME")]
    who: Vec<String>,
    /// What was done: jobs.cancel, tokens.*
    #[arg(long, value_name = "ACTION")]
    action: Vec<String>,
    /// On what: an id, a name
    #[arg(long, value_name = "OBJECT")]
    object: Vec<String>,
    /// At this time or later: RFC 3339, or how long ago
    #[arg(long, value_name = "TIME")]
    after: Option<value::Moment>,
    /// At this time or earlier
    #[arg(long, value_name = "TIME")]
    before: Option<value::Moment>,
    /// At most so many
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<usize>,
}

/// Walks the chain.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright audit verify
  taskwright audit verify --json

It prints the place where the chain ends. Keep it somewhere else: with --expect
the chain has to lead through it, so that one that somebody has made anew, all
of it, is noticed too. Exits 1 where it is broken.")]
struct Verify {
    /// A place that was printed before
    #[arg(long, value_name = "PLACE")]
    expect: Option<Place>,
}

const COLUMNS: [Column; 7] = [
    Column::new("#", 4).right(),
    Column::new("at", 0),
    Column::new("who", 0).cut_to(40),
    Column::new("action", 0),
    Column::new("on", 1).cut(),
    Column::new("namespace", 3),
    Column::new("outcome", 2).cut(),
];

impl Audit {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::List(verb) => verb.run(context).await,
            Verb::Verify(verb) => verb.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<Exit, Error> {
        let now = context.env.now();
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        let filter = AuditFilter {
            namespace: context.namespace.clone(),
            who: patterns(&self.who),
            actions: patterns(&self.action),
            objects: patterns(&self.object),
            from: self.after.map(|moment| moment.resolve(now)),
            to: self.before.map(|moment| moment.resolve(now)),
        };
        let most = if context.output.is_seen() { SEEN_MAX } else { usize::MAX };
        let mut left = self.limit.unwrap_or(most);
        let audit = context.client().await?.audit();
        let mut table = Table::new(&COLUMNS);
        let (mut before, mut count) = (None, 0);
        while left > 0 {
            let page = audit.page(filter.clone(), before, left.min(PAGE)).await?;
            left -= page.entries.len().min(left);
            count += page.entries.len();
            for view in &page.entries {
                if context.output.is_json() {
                    context.output.json(view)?;
                } else {
                    table.row(row(view));
                }
            }
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        if !table.is_empty() {
            context.output.table(&mut table)?;
        }
        if count == 0 {
            context.output.note("no entry matches");
        } else if before.is_some() && self.limit.is_none() {
            context.output.note("there are older ones: -n tells how many to list");
        }
        Ok(Exit::Ok)
    }
}

fn row(view: &AuditView) -> Vec<(String, Paint)> {
    let entry = &view.entry;
    let plain = |text: &str| (text::one_line(text), Paint::Plain);
    let namespace = entry.namespace.as_ref().map_or("", |namespace| namespace.as_str());
    vec![
        (view.position.to_string(), Paint::Faint),
        (text::clock(entry.at), Paint::Faint),
        plain(entry.who.as_str()),
        plain(&entry.action),
        plain(&entry.object),
        plain(namespace),
        plain(&entry.outcome),
    ]
}

impl Verify {
    async fn run(self, context: &Context) -> Result<Exit, Error> {
        let verified = match context.server() {
            Some(server) => {
                let query: Vec<(&str, String)> =
                    self.expect.iter().map(|place| ("expect", place.to_string())).collect();
                let path = "/api/v1/audit/verify";
                let told = server.ask(Method::GET, path, None, &query, NO_BODY, &[]).await?;
                told.ok_or_else(|| server.lacks(path))?
            }
            None => Verified::of(context.client().await?.audit().verify(self.expect).await?),
        };
        if context.output.is_json() {
            context.output.json(&verified)?;
        }
        match verified {
            Verified::Whole { entries, head, .. } => {
                if !context.output.is_json() {
                    context.output.line(head)?;
                    context.output.note(format!("the chain is whole; entries in it: {entries}"));
                }
                Ok(Exit::Ok)
            }
            Verified::Broken { position, why, .. } => Err(Error::operational(
                format!("entry {position} of the audit"),
                why,
                "compare the store with a backup: what is before it is as it was written",
            )),
        }
    }
}

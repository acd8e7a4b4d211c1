//! `namespaces`: which there are, and who may cancel jobs there.

use clap::{Args, Subcommand};
use taskwright_core::{Actor, CancelPolicy, Namespace};

use super::Context;
use super::tokens::acting;
use crate::answer::namespace::{Listed, Whole};
use crate::error::{Error, Exit};
use crate::output::Paint;

/// Looks after namespaces.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright namespaces list
  taskwright namespaces show shop
  taskwright namespaces set shop --cancel admin

A namespace is there as soon as something is in it.")]
pub(super) struct Namespaces {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the namespaces that have queues, schedules or generators
    List(List),
    /// Show who may cancel jobs in a namespace
    Show(Show),
    /// Say who may cancel jobs in a namespace
    Set(Set),
}

/// Lists the namespaces.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright namespaces list
  taskwright namespaces list --json

A server lists those in which one has a role.")]
struct List {}

/// Shows who may cancel jobs in a namespace.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright namespaces show shop
  taskwright namespaces show shop --json")]
struct Show {
    /// The namespaces
    #[arg(required = true, value_name = "NAME")]
    names: Vec<Namespace>,
}

/// Says who may cancel jobs in a namespace.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright namespaces set shop --cancel admin
  taskwright namespaces set shop --cancel owner

owner: whoever submitted the job, and admins (the default); admin: admins only;
superuser: superusers only. It holds at once, and counts for those who come
through a server.")]
struct Set {
    /// The namespaces
    #[arg(required = true, value_name = "NAME")]
    names: Vec<Namespace>,
    /// Who may cancel jobs: owner, admin, superuser
    #[arg(long, value_name = "WHO", required = true)]
    cancel: CancelPolicy,
    /// Who does it [default: the user who is logged in]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

impl Namespaces {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::List(verb) => verb.run(context).await?,
            Verb::Show(verb) => verb.run(context).await?,
            Verb::Set(verb) => verb.run(context).await?,
        }
        context.output.flush()?;
        Ok(Exit::Ok)
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Error> {
        let wanted = context.namespace.as_ref();
        let found = match context.server() {
            Some(server) => server.items("/api/v1/namespaces", wanted).await?,
            None => Listed::all(&**context.store().await?, context.env.now(), wanted).await?,
        };
        for one in &found {
            if context.output.is_json() {
                context.output.json(one)?;
            } else {
                context.output.line(one.name.as_str())?;
            }
        }
        if found.is_empty() {
            context.output.note("no namespaces: there is one as soon as something is in it");
        }
        Ok(())
    }
}

impl Show {
    async fn run(self, context: &Context) -> Result<(), Error> {
        let identities = context.client().await?.identities();
        for name in self.names {
            let cancel = identities.cancel_policy(name.clone()).await?;
            tell(context, Whole { name, cancel })?;
        }
        Ok(())
    }
}

impl Set {
    async fn run(self, context: &Context) -> Result<(), Error> {
        for name in self.names {
            let (action, object) = ("namespaces.set-cancel-policy", self.cancel.as_str());
            let (_, identities) =
                acting(context, self.actor.as_ref(), action, object, Some(name.clone())).await?;
            identities.set_cancel_policy(name.clone(), self.cancel).await?;
            tell(context, Whole { name, cancel: self.cancel })?;
        }
        Ok(())
    }
}

fn tell(context: &Context, whole: Whole) -> Result<(), Error> {
    let output = &context.output;
    if output.is_json() {
        return output.json(&whole);
    }
    let who = match whole.cancel {
        CancelPolicy::Owner => "whoever submitted them, and admins",
        CancelPolicy::Admin => "admins",
        CancelPolicy::Superuser => "superusers",
    };
    output.line(format!(
        "{}  {} {} ({who})",
        whole.name,
        output.paint("jobs are cancelled by", Paint::Faint),
        whole.cancel
    ))
}

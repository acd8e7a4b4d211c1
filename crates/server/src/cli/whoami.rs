//! `whoami`: as whom the command line acts.

use clap::Args;
use http::Method;
use taskwright_core::Principal;

use super::Context;
use crate::answer::principal::WhoAmI;
use crate::error::{Error, Exit};
use crate::output::Paint;
use crate::remote::{NO_BODY, NOTHING};
use crate::text;

/// Tells as whom it acts, and what that one may do.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright whoami
  taskwright whoami --server https://jobs.example:7411 --json

Whoever has the store at hand is the local user, and may do everything. A server
is asked whose token it is; what each role may do is a table in the guide, on
the page `Identities`.")]
pub(super) struct WhoIs {}

impl WhoIs {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let who = match context.server() {
            Some(server) => {
                let path = "/api/v1/whoami";
                let told = server.ask(Method::GET, path, None, &NOTHING, NO_BODY, &[]).await?;
                told.ok_or_else(|| server.lacks(path))?
            }
            None => WhoAmI::of(&Principal::local(super::local_actor()), None),
        };
        if context.output.is_json() {
            context.output.json(&who)?;
        } else {
            print(context, &who)?;
        }
        Ok(Exit::Ok)
    }
}

fn print(context: &Context, who: &WhoAmI) -> Result<(), Error> {
    let (output, now) = (&context.output, context.env.now());
    let fact = |name: &str, value: &str| {
        output.line(format!(
            "{} {}",
            output.paint(&format!("{name:<8}"), Paint::Faint),
            text::one_line(value)
        ))
    };
    output.line(text::one_line(who.name.as_str()))?;
    fact("kind", who.kind.as_str())?;
    fact("roles", &rank(who))?;
    if let Some(scopes) = &who.scopes {
        fact("held to", &if scopes.is_empty() { "nothing".to_owned() } else { scopes.join(", ") })?;
    }
    fact("expires", &who.expires_at.map_or_else(|| "never".to_owned(), |at| text::full(at, now)))?;
    fact("asked", &context.place())
}

/// What somebody is, in words: `superuser`, or `member of shop`.
pub(super) fn rank(who: &WhoAmI) -> String {
    if who.superuser {
        return "superuser".to_owned();
    }
    let told: Vec<String> =
        who.roles.iter().map(|(namespace, role)| format!("{role} of {namespace}")).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

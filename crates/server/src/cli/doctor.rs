//! `doctor`: is it the way to the server, the store, the workers, or the tasks?

use std::time::Duration;

use clap::Args;
use http::Method;
use serde::Deserialize;
use taskwright_core::Permission;

use super::up::{CLEAR_TEXT_VARIABLE, LISTEN_VARIABLE};
use super::{Context, value};
use crate::answer::doctor::Check;
use crate::answer::principal::WhoAmI;
use crate::config::{Listen, ServerConfig, is_here};
use crate::doctor::{self, Patient};
use crate::error::{Error, Exit};
use crate::output::Paint;
use crate::remote::{NO_BODY, NOTHING, Remote};
use crate::text;

/// Looks for what is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright doctor
  taskwright doctor --json
  taskwright doctor --server https://jobs.example:7411

Of a server it looks at the way there and at the token first; a superuser is
told what the server finds where its store is.

Exit codes: 0 all is well, 1 something is wrong.")]
pub(super) struct Doctor {
    /// Where `up` would listen
    #[arg(long, hide = true, env = value::set(LISTEN_VARIABLE))]
    listen: Option<Listen>,
    /// Whether it may without TLS
    #[arg(long, hide = true, env = value::set(CLEAR_TEXT_VARIABLE))]
    #[arg(value_parser = clap::builder::BoolishValueParser::new())]
    allow_clear_text: bool,
}

/// How long before its end a token is worth a word.
const EXPIRES_SOON: Duration = Duration::from_secs(7 * 86_400);

impl Doctor {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let checks = match context.server() {
            Some(server) => of_server(context, server).await?,
            None => {
                let mut checks = of_store(context).await?;
                checks.extend(self.listening(&context.config.server));
                checks
            }
        };
        for check in &checks {
            print(context, check)?;
        }
        let wrong = checks.iter().filter(|check| !check.ok).count();
        context.output.note(match wrong {
            0 => "all is well".to_owned(),
            wrong => format!("{wrong} of {} want attention", text::count(checks.len(), "check")),
        });
        Ok(if wrong == 0 { Exit::Ok } else { Exit::Operational })
    }

    /// Whether a server that is started here keeps to itself what it is told, if others reach it. What flags one was given that
    /// runs, nobody here can know: so this is no fault.
    fn listening(&self, config: &ServerConfig) -> Option<Check> {
        let Some(Listen::At(address)) = self.listen.or(config.listen) else { return None };
        if is_here(address.ip()) {
            return None;
        }
        let found = match (&config.tls, config.allow_clear_text, self.allow_clear_text) {
            (Some(_), ..) => format!("others reach {address}, by TLS"),
            (None, true, _) => format!("others reach {address} without TLS, as allow_clear_text says"),
            (None, false, true) => {
                format!("others reach {address} without TLS, as {CLEAR_TEXT_VARIABLE} says")
            }
            (None, false, false) => format!(
                "{address} is not listened at without TLS, as others would reach it, unless --allow-clear-text is given; or name \
                 tls_cert and tls_key in [server]"
            ),
        };
        Some(Check::fine("server", found))
    }
}

async fn of_store(context: &Context) -> Result<Vec<Check>, Error> {
    let mut checks = Vec::new();
    let can_be_opened = match context.opened_url() {
        Some(url) => doctor::look_at_database(url, &context.env, &mut checks).await?,
        None => true,
    };
    if can_be_opened {
        let client = context.client().await?;
        let (env, kinds, namespace) = (&context.env, context.kinds(), context.namespace.as_ref());
        checks.extend(doctor::look(&Patient { client: &client, env, kinds, namespace }).await?);
    }
    Ok(checks)
}

/// The way to a server, who is known there, and what it finds itself.
async fn of_server(context: &Context, server: &Remote) -> Result<Vec<Check>, Error> {
    let began_us = context.env.monotonic_us();
    let reached = server.text(Method::GET, "/healthz", None, &NOTHING, NO_BODY, &[]).await;
    let took = text::measured(Duration::from_micros(context.env.monotonic_us() - began_us));
    let mut checks = match reached {
        Ok(_) => vec![Check::fine("reach", format!("{} answers, within {took}", server.url()))],
        Err(error) => return Ok(vec![Check::wrong("reach", told(&error), error.fix())]),
    };
    checks.push(protection(server));
    checks.push(match server.text(Method::GET, "/readyz", None, &NOTHING, NO_BODY, &[]).await {
        Ok(_) => Check::fine("ready", "its store answers, and it takes jobs"),
        Err(error) => Check::wrong("ready", told(&error), error.fix()),
    });
    let who: WhoAmI = match server.ask(Method::GET, "/api/v1/whoami", None, &NOTHING, NO_BODY, &[]).await {
        Ok(Some(who)) => who,
        Ok(None) => {
            let error = server.lacks("/api/v1/whoami");
            checks.push(Check::wrong("token", told(&error), error.fix()));
            return Ok(checks);
        }
        Err(error) => {
            checks.push(Check::wrong("token", told(&error), error.fix()));
            return Ok(checks);
        }
    };
    checks.push(token(context, &who));
    checks.push(version(server).await);
    if !may_view_the_system(&who) {
        let permission = Permission::SystemView;
        checks.push(Check::fine("store", format!("not looked at: that needs the permission {permission}")));
        return Ok(checks);
    }
    let path = "/api/v1/doctor";
    let found: Result<Vec<Check>, _> = server.items(path, context.namespace.as_ref()).await;
    match found {
        Ok(found) if !found.is_empty() => checks.extend(found),
        Ok(_) => checks.push(Check::wrong("store", told(&server.lacks(path)), server.lacks(path).fix())),
        Err(error) => checks.push(Check::wrong("store", told(&error), error.fix())),
    }
    Ok(checks)
}

fn told(error: &taskwright_store::Error) -> String {
    format!("{}: {}", error.what(), error.why())
}

fn protection(server: &Remote) -> Check {
    match (server.is_tls(), server.is_here()) {
        (true, _) => Check::fine("tls", "it shows a certificate that is checked"),
        (false, true) => Check::fine("tls", "it is this machine"),
        (false, false) => Check::wrong(
            "tls",
            "what is said to it crosses the network in the clear",
            "have it speak TLS: name tls_cert and tls_key in its [server]",
        ),
    }
}

fn token(context: &Context, who: &WhoAmI) -> Check {
    let now = context.env.now();
    let is = format!("{}, {}", who.name, super::whoami::rank(who));
    match who.expires_at {
        Some(at) if at.since(now) < EXPIRES_SOON => Check::wrong(
            "token",
            format!("{is}; it expires {}", text::relative(at, now)),
            "make another one in time: taskwright tokens create",
        ),
        Some(at) => Check::fine("token", format!("{is}; it expires {}", text::relative(at, now))),
        None => Check::fine("token", is),
    }
}

async fn version(server: &Remote) -> Check {
    #[derive(Deserialize)]
    struct Document {
        info: Info,
    }
    #[derive(Deserialize)]
    struct Info {
        version: String,
    }
    const OURS: &str = env!("CARGO_PKG_VERSION");
    let path = "/api/v1/openapi.json";
    match server.ask::<Document>(Method::GET, path, None, &NOTHING, NO_BODY, &[]).await {
        Ok(Some(Document { info: Info { version } })) if version == OURS => {
            Check::fine("version", format!("{version}, as here"))
        }
        Ok(Some(Document { info: Info { version } })) => Check::wrong(
            "version",
            format!("the server has {version}, and this program is {OURS}"),
            "use the same version here and there",
        ),
        Ok(None) => Check::wrong("version", told(&server.lacks(path)), server.lacks(path).fix()),
        Err(error) => Check::wrong("version", told(&error), error.fix()),
    }
}

fn may_view_the_system(who: &WhoAmI) -> bool {
    let is_held_to = |scopes: &Vec<String>| scopes.iter().any(|one| one == Permission::SystemView.as_str());
    who.superuser && who.scopes.as_ref().is_none_or(is_held_to)
}

fn print(context: &Context, check: &Check) -> Result<(), Error> {
    let output = &context.output;
    if output.is_json() {
        return output.json(check);
    }
    let (mark, paint) = if check.ok { ("ok", Paint::Good) } else { ("!!", Paint::Bad) };
    // Texts of a server are somebody else's.
    let (name, found) = (text::one_line(&check.name), text::one_line(&check.found));
    output.line(format!("{}  {name:<8} {found}", output.paint(mark, paint)))?;
    match &check.fix {
        Some(fix) => output.line(format!("    fix: {}", text::one_line(fix))),
        None => Ok(()),
    }
}

//! `profiles`: servers that this user asks, by name.

use std::io::BufRead;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::profile::{self, Profile, Profiles};
use crate::remote::Remote;
use crate::text;

/// Bytes of a token that is typed or piped.
const TOKEN_BYTES_MAX: u64 = 4 << 10;

/// Looks after the servers that this user asks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright profiles add work --server https://jobs.example:7411
  taskwright jobs list --profile work
  taskwright profiles use work

They are in taskwright/profiles.toml in $XDG_CONFIG_HOME, or ~/.config, for
nobody else to read. --server comes before --profile, that before
TASKWRIGHT_SERVER and TASKWRIGHT_PROFILE, these before a store that is named,
and that before the profile in use.")]
pub(super) struct ProfilesOf {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add a server, or change it
    Add(Add),
    /// List them; no token is shown
    List(List),
    /// Use one whenever nothing else is named
    Use(Use),
    /// Remove some, with their tokens
    Remove(Remove),
}

/// Adds a server, or changes it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright profiles add work --server https://jobs.example:7411
  taskwright profiles add local --server http://127.0.0.1:7411 --no-token
  pass show jobs | taskwright profiles add work --server https://jobs.example

The token is asked for, or read from standard input, or from TASKWRIGHT_TOKEN.
--namespace and --ca are kept, too.")]
struct Add {
    /// What it is to be called
    #[arg(value_parser = profile::name)]
    name: String,
    /// It asks nobody who they are
    #[arg(long)]
    no_token: bool,
}

/// Lists the servers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright profiles list
  taskwright profiles list --json")]
struct List {}

/// Uses one whenever nothing else is named.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright profiles use work
  taskwright profiles use --none                 ask the store again")]
struct Use {
    /// Which
    #[arg(required_unless_present = "none", conflicts_with = "none")]
    name: Option<String>,
    /// None
    #[arg(long)]
    none: bool,
}

/// Removes servers, with their tokens.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright profiles remove work

The token stays good: `taskwright tokens revoke` ends that.")]
struct Remove {
    /// Which
    #[arg(required = true)]
    names: Vec<String>,
}

const COLUMNS: [Column; 5] = [
    Column::new("name", 0).cut_to(64),
    Column::new("server", 0).cut(),
    Column::new("namespace", 1),
    Column::new("token", 2),
    Column::new("used", 0),
];

impl ProfilesOf {
    pub(super) fn run(self, context: &Context) -> Result<Exit, Error> {
        let path = profile::path().ok_or_else(|| {
            Error::operational(
                "the profiles",
                "neither XDG_CONFIG_HOME nor HOME says where they are",
                "set one of the two",
            )
        })?;
        let mut seen = Profiles::look(&path)?;
        if let Verb::List(_) | Verb::Remove(_) = self.verb
            && let Some(doubt) = seen.doubt.take()
        {
            // They ask nobody; and a file that is written anew is for nobody else to read.
            context.output.note(format!("warning: {doubt}"));
        }
        let mut profiles = seen.trusted()?;
        match self.verb {
            Verb::List(List {}) => return list(context, &profiles),
            Verb::Add(verb) => {
                let what = if profiles.profiles.contains_key(&verb.name) { "changed" } else { "added" };
                let profile = verb.profile(context)?;
                context.output.note(format!("profile {} {what}: {}", verb.name, profile.server));
                profiles.profiles.insert(verb.name, profile);
            }
            Verb::Use(Use { name: Some(name), .. }) => {
                let server = &profiles.get(&name)?.server;
                context.output.note(format!("{server} is asked from now on, unless something else is named"));
                profiles.in_use = Some(name);
            }
            Verb::Use(_) => profiles.in_use = None,
            Verb::Remove(Remove { names }) => {
                for name in &names {
                    profiles.get(name)?;
                }
                for name in names {
                    profiles.profiles.remove(&name);
                    profiles.in_use.take_if(|used| *used == name);
                    context.output.note(format!("profile {name} removed"));
                }
            }
        }
        profiles.save(&path)?;
        Ok(Exit::Ok)
    }
}

fn list(context: &Context, profiles: &Profiles) -> Result<Exit, Error> {
    let output = &context.output;
    let is_used = |name: &String| profiles.in_use.as_ref() == Some(name);
    if output.is_json() {
        for (name, profile) in &profiles.profiles {
            output.json(&json!({
                "name": name, "server": profile.server, "namespace": profile.namespace, "ca": profile.ca,
                "has_token": profile.token.is_some(), "in_use": is_used(name),
            }))?;
        }
        return Ok(Exit::Ok);
    }
    if profiles.profiles.is_empty() {
        output.note("there are none; add one with `taskwright profiles add NAME --server URL`");
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&COLUMNS);
    for (name, profile) in &profiles.profiles {
        let namespace = profile.namespace.as_ref().map_or("-".to_owned(), ToString::to_string);
        let token = if profile.token.is_some() { "kept" } else { "none" };
        let used = if is_used(name) { "yes" } else { "" };
        let cells =
            [name.clone(), text::one_line(&profile.server), namespace, token.to_owned(), used.to_owned()];
        table.row(cells.into_iter().map(|cell| (cell, Paint::Plain)).collect());
    }
    output.table(&mut table)?;
    Ok(Exit::Ok)
}

impl Add {
    fn profile(&self, context: &Context) -> Result<Profile, Error> {
        let given = &context.given;
        let Some(server) = given.server.clone() else {
            return Err(Error::usage(
                format!("the profile {}", self.name),
                "it is not said which server",
                format!("write `taskwright profiles add {} --server URL`", self.name),
            ));
        };
        let ca = given.ca.as_ref().map(std::path::absolute).transpose();
        let ca: Option<PathBuf> =
            ca.map_err(|error| Error::file("finding", "the authority's file", &error))?;
        let token = match (&given.token, self.no_token) {
            (_, true) => None,
            (Some(token), _) => Some(token.clone()),
            (None, _) => Some(self.ask_for_token(context)?),
        };
        // Everything about it is checked before it is kept.
        Remote::new(&server, token.clone(), ca.as_deref())?;
        Ok(Profile { server, token, namespace: context.namespace.clone(), ca })
    }

    fn ask_for_token(&self, context: &Context) -> Result<String, Error> {
        let failed = |error: std::io::Error| Error::file("reading", "the token", &error);
        let text = if context.output.can_ask() {
            rpassword::prompt_password(format!("Token of {}: ", self.name)).map_err(failed)?
        } else {
            let mut line = String::new();
            context
                .with_input(|input| {
                    let mut input = std::io::Read::take(input, TOKEN_BYTES_MAX);
                    input.read_line(&mut line)
                })
                .map_err(failed)?;
            line
        };
        let token = text.trim();
        if token.is_empty() {
            return Err(Error::usage(
                format!("the profile {}", self.name),
                "there is no token",
                "type or pipe one, set TASKWRIGHT_TOKEN, or say --no-token where the server asks nobody",
            ));
        }
        Ok(token.to_owned())
    }
}

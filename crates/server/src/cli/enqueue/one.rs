//! One job from the flags, and the command of `exec`.

use std::collections::BTreeMap;

use clap::Args;
use taskwright::Client;
use taskwright_core::limit::ARGS_BYTES_MAX;
use taskwright_core::{Args as JobArgs, JobId};
use taskwright_store::{Change, Changed};

use super::{Enqueue, json_of_flag, text_of_flag};
use crate::cli::jobs::{attach, read_attachment};
use crate::cli::{Context, context, value};
use crate::error::{Error, Exit};
use crate::exec::{self, ExecArgs};

/// What can be said about the command of `exec`.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The command of exec")]
pub(super) struct ExecFlags {
    /// An environment variable
    #[arg(long, value_name = "NAME=VALUE", value_parser = value::assignment)]
    env: Vec<(String, String)>,
    /// Where it runs [default: the current directory]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// What it reads: text, @FILE or `-` for standard input
    #[arg(long, value_name = "TEXT")]
    stdin: Option<String>,
}

pub(super) async fn run(context: &Context, verb: &Enqueue) -> Result<Exit, Error> {
    let mut defaults = verb.defaults(context)?;
    let kind = defaults.kind(verb.kind.as_deref().unwrap_or_default())?;
    let args = if kind.as_str() == exec::KIND && verb.args.is_none() {
        JobArgs::of(&command(context, verb)?)?
    } else {
        refuse_command(verb)?;
        json_of_flag(context, verb.args.as_deref())?
    };
    let files = verb.attach.iter().map(|given| read_attachment(given)).collect::<Result<Vec<_>, _>>()?;
    let mut job = defaults.job(kind, args)?;
    let (kind, namespace, is_released) =
        (job.kind.clone(), job.namespace.clone(), !job.held && !files.is_empty());
    // Nobody runs it before all is there.
    job.held |= is_released;
    let client = context.client_or_new().await?;
    let answer = client.enqueue(job).await?;
    if !answer.existing {
        for file in files {
            attach(context, &client, None, namespace.clone(), answer.id, file).await?;
        }
        if is_released {
            release(&client, answer.id).await?;
        }
    }
    super::print_id(context, &answer)?;
    if answer.existing {
        context.output.note(format!("a waiting {kind} job holds this key already: nothing was stored"));
    }
    Ok(Exit::Ok)
}

/// Lets a job go whose attachments are there.
async fn release(client: &Client, id: JobId) -> Result<(), Error> {
    let actor = context::actor(None);
    let changed = client.change(vec![id], Change::Release, actor, None).await?;
    match changed.first() {
        Some(Changed::Done) => Ok(()),
        _ => Err(Error::usage(
            format!("the job {id}"),
            "it is stored and has its attachments, and could not be released",
            "look at it with `taskwright jobs show`",
        )),
    }
}

fn command(context: &Context, verb: &Enqueue) -> Result<ExecArgs, Error> {
    let stdin = verb.exec.stdin.as_deref().map(|given| {
        let bytes = text_of_flag(context, "--stdin", given, ARGS_BYTES_MAX)?;
        String::from_utf8(bytes).map_err(|_| {
            Error::usage(
                "--stdin",
                "it is not UTF-8 text, which arguments have to be",
                "keep the data in a file and pass its name to the command",
            )
        })
    });
    let args = ExecArgs {
        command: verb.command.clone(),
        env: verb.exec.env.iter().cloned().collect::<BTreeMap<_, _>>(),
        cwd: directory(verb.exec.cwd.as_deref())?,
        stdin: stdin.transpose()?,
    };
    args.check()?;
    Ok(args)
}

/// The directory with its whole path, because the worker runs somewhere else.
pub(in crate::cli) fn directory(given: Option<&str>) -> Result<Option<String>, Error> {
    let refuse = |why: &str| {
        Error::usage("the directory of the command", why.to_owned(), "name another with --cwd DIR")
    };
    let here = std::env::current_dir().map_err(|error| refuse(&crate::error::in_words(&error)))?;
    let path = given.map_or(here.clone(), |given| here.join(given));
    let path = path.to_str().ok_or_else(|| refuse("its path is not UTF-8"))?;
    Ok(Some(path.to_owned()))
}

/// Refuses what only `exec` can take.
fn refuse_command(verb: &Enqueue) -> Result<(), Error> {
    let flags = &verb.exec;
    let has_flags = !flags.env.is_empty() || flags.cwd.is_some() || flags.stdin.is_some();
    if verb.command.is_empty() && !has_flags {
        return Ok(());
    }
    let (what, fix) = match verb.kind.as_deref() {
        Some(exec::KIND) => ("--args together with a command", "leave one of them out"),
        _ if verb.command.is_empty() => {
            ("--env, --cwd and --stdin", "set them in the config file: [tasks.NAME]")
        }
        _ => ("a command after `--`", "write `taskwright enqueue exec -- CMD ARG...`, or use --args JSON"),
    };
    Err(Error::usage(what, "only `exec` takes that, and without --args", fix))
}

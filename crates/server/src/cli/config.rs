//! `config`: check and print the config file.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use crate::config::DEFAULT_FILE;
use crate::error::{Error, Exit};
use crate::output::Paint;
use crate::text;

/// Checks and prints the config file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright config check
  taskwright config show --json")]
pub(super) struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check the config file, and tell everything that is wrong with it
    #[command(after_help = "\
Examples:
  taskwright config check
  taskwright config check --config other.toml")]
    Check,
    /// Print what holds: the config file over the defaults
    #[command(after_help = "Examples:\n  taskwright config show\n  taskwright config show --json")]
    Show,
}

impl Config {
    /// The file was read before any verb runs, so that what is left is to tell.
    pub(super) fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::Check => check(context),
            Verb::Show => show(context),
        }
    }
}

fn check(context: &Context) -> Result<Exit, Error> {
    let Some(file) = &context.config.file else {
        return Err(Error::usage(
            format!("the config file {DEFAULT_FILE}"),
            "it does not exist, and no other was named; the defaults hold",
            "name one with --config FILE, if there is one",
        ));
    };
    let (tasks, sources) = (context.config.tasks.len(), context.config.sources.len());
    // Also what only a daemon would find: a channel without a database.
    crate::source::sources(&context.config, &context.store_url)?;
    let file = file.display().to_string();
    if context.output.is_json() {
        context.output.json(&json!({ "file": file, "ok": true, "tasks": tasks, "sources": sources }))?;
    } else {
        let sources =
            if sources == 0 { String::new() } else { format!(", {}", text::count(sources, "source")) };
        context.output.line(format!("{file}: ok, {}{sources}", text::count(tasks, "task")))?;
    }
    Ok(Exit::Ok)
}

fn show(context: &Context) -> Result<Exit, Error> {
    let (output, config) = (&context.output, &context.config);
    if output.is_json() {
        let file = config.file.as_ref().map(|file| file.display().to_string());
        let store = context.store_url.to_string();
        output.json(&json!({ "file": file, "store": store, "config": config }))?;
        return Ok(Exit::Ok);
    }
    let fact = |name: &str, value: String| {
        output.line(format!("{} {value}", output.paint(&format!("{name:<10}"), Paint::Faint)))
    };
    let or = |value: Option<String>, default: &str| value.unwrap_or_else(|| format!("{default} (default)"));
    fact("file", config.file.as_ref().map_or("none".to_owned(), |file| file.display().to_string()))?;
    fact("store", context.store_url.to_string())?;
    if let Some(run_dir) = context.run_dir() {
        fact("run dir", run_dir.display().to_string())?;
    }
    let workers = &config.workers;
    fact("workers", or(workers.processes.map(|count| count.to_string()), "one per CPU"))?;
    fact("each runs", or(workers.concurrency.map(|count| text::count(count as usize, "job")), "8 jobs"))?;
    fact("grace", or(workers.grace.map(text::duration), "25 s"))?;
    let queues = workers.queues.as_ref();
    let queues = queues.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    fact("queues", or(queues, "all"))?;
    let keep = config.retention;
    for (state, keep) in [
        ("completed", keep.completed),
        ("failed", keep.failed),
        ("cancelled", keep.cancelled),
        ("dropped", keep.dropped),
    ] {
        fact(state, keep.map_or("kept forever".to_owned(), |keep| format!("kept {}", text::duration(keep))))?;
    }
    for (name, task) in &config.tasks {
        let args = task.args.iter().map(|arg| format!(" {arg}")).collect::<String>();
        fact("task", format!("{name}: {}{}", text::one_line(&task.command), text::one_line(&args)))?;
    }
    for (name, source) in &config.sources {
        fact("source", format!("{name}: {}", text::one_line(&source.to_string())))?;
    }
    Ok(Exit::Ok)
}

//! `config`: check and print the config file.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use taskwright_core::size::Bytes;
use taskwright_core::{Budget, Garbage, Limits, Weight};

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
    let (tasks, schedules) = (context.config.tasks.len(), context.config.schedules.len());
    let (sources, generators) = (context.config.sources.len(), context.config.generators.len());
    let webhooks = context.config.webhooks.len();
    // Also what only a daemon would find: a channel without a database.
    crate::source::sources(&context.config, &context.store_url)?;
    let file = file.display().to_string();
    if context.output.is_json() {
        let told = json!({
            "file": file, "ok": true, "tasks": tasks, "schedules": schedules, "sources": sources,
            "generators": generators, "webhooks": webhooks,
        });
        context.output.json(&told)?;
    } else {
        let mut found = text::count(tasks, "task");
        let counts =
            [(schedules, "schedule"), (sources, "source"), (generators, "generator"), (webhooks, "webhook")];
        for (count, what) in counts {
            if count > 0 {
                found.push_str(&format!(", {}", text::count(count, what)));
            }
        }
        context.output.line(format!("{file}: ok, {found}"))?;
    }
    context.warn_of_unknown_tasks();
    Ok(Exit::Ok)
}

/// What a task says about the machine, for people.
fn resources(
    timeout: Option<Duration>,
    limits: Limits,
    weight: Weight,
) -> impl Iterator<Item = (&'static str, String)> {
    let told = [
        ("timeout", timeout.map(text::duration)),
        ("max RSS", limits.max_rss.map(|bytes| Bytes(bytes).to_string())),
        ("max CPU time", limits.max_cpu_time.map(text::duration)),
        ("nice", limits.nice.map(|nice| nice.to_string())),
        ("ionice", limits.ionice.map(|class| class.to_string())),
        ("weighs", (!weight.is_none()).then(|| weight.to_string())),
    ];
    told.into_iter().filter_map(|(what, value)| Some((what, value?)))
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
    if let Some(jobs) = workers.recycle_after_jobs {
        fact("recycled", format!("after {}", text::count(jobs as usize, "job")))?;
    }
    if let Some(bytes) = workers.recycle_above_rss {
        fact("recycled", format!("above {}", Bytes(bytes)))?;
    }
    fact(
        "budget",
        or((workers.budget != Budget::default()).then(|| workers.budget.to_string()), "no limit"),
    )?;
    let keep = config.retention;
    for garbage in Garbage::ALL {
        let (word, keep) = (garbage.as_str(), keep.of(garbage));
        fact(word, keep.map_or("kept forever".to_owned(), |keep| format!("kept {}", text::duration(keep))))?;
    }
    for (name, schedule) in &config.schedules {
        let when = text::one_line(&schedule.triggers.describe());
        fact("schedule", format!("{name}: {} {when}", schedule.kind))?;
    }
    for (what, value) in resources(config.exec.timeout, config.exec.limits, config.exec.weight) {
        fact("exec", format!("{what} {value}"))?;
    }
    for (name, task) in &config.tasks {
        let args = task.args.iter().map(|arg| format!(" {arg}")).collect::<String>();
        fact("task", format!("{name}: {}{}", text::one_line(&task.command), text::one_line(&args)))?;
        for (what, value) in resources(task.timeout, task.limits, task.weight) {
            fact("", format!("  {what} {value}"))?;
        }
    }
    for (name, source) in &config.sources {
        fact("source", format!("{name}: {}", text::one_line(&source.to_string())))?;
    }
    for (name, generator) in &config.generators {
        fact("generator", format!("{name}: {}", text::one_line(&generator.to_string())))?;
    }
    for (name, webhook) in &config.webhooks {
        let topics: Vec<&str> = webhook.topics.iter().map(|topic| topic.as_str()).collect();
        fact("webhook", format!("{name}: {} -> {}", topics.join(", "), text::one_line(&webhook.url)))?;
    }
    Ok(Exit::Ok)
}

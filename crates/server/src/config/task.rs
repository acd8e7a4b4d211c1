//! `[tasks.NAME]`: a command that runs as a task, and the defaults of its jobs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use taskwright_core::limit::LOG_BYTES_MAX;
use taskwright_core::resource::NICE_MAX;
use taskwright_core::{Backoff, Kind, Limits, MaxAttempts, OnShutdown, Priority, QueueName, Weight};

use super::reader::Section;
use super::template::Template;
use crate::error::Error;
use crate::schedule::JobSettings;

/// A command task: what runs, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TaskConfig {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub command: String,
    /// What it is given, one element each, never through a shell.
    pub args: Vec<Template>,
    /// Environment variables that it gets besides the allowed ones.
    pub env: BTreeMap<String, String>,
    /// Variables of the worker's own environment that it may see.
    pub env_pass: Vec<String>,
    /// Where it runs; relative to the config file's directory. `None` is that directory.
    pub cwd: Option<PathBuf>,
    /// What it reads from standard input; `None` is nothing.
    pub stdin: Option<Template>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// What the processes of one attempt may use, all together.
    pub limits: Limits,
    /// What a job counts in the budget of a worker.
    pub weight: Weight,
    /// How long it may take to end after it was asked to.
    pub grace: Option<Duration>,
    /// What becomes of a job that a shutdown finds running and that does not end in time; `None` leaves it to `[workers]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_shutdown: Option<OnShutdown>,
    /// The queue of its jobs.
    pub queue: Option<QueueName>,
    /// The priority of its jobs.
    pub priority: Option<Priority>,
    /// How many executions its jobs get.
    #[serde(serialize_with = "as_text")]
    pub max_attempts: Option<MaxAttempts>,
    /// How long its jobs wait after a failure.
    #[serde(serialize_with = "as_text")]
    pub backoff: Option<Backoff>,
    /// Exit codes that mean: do not try again.
    pub permanent_exit_codes: Vec<u32>,
    /// How much of its output is kept.
    pub log_bytes_max: Option<u32>,
}

/// `[exec]`: what the jobs of the built-in task `exec` may use, whatever they run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ExecConfig {
    /// What the processes of one attempt may use, all together.
    pub limits: Limits,
    /// What a job counts in the budget of a worker.
    pub weight: Weight,
    /// How long one attempt may take, unless its job says otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

impl ExecConfig {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads `[exec]`.
pub(super) fn read_exec(section: &Section<'_>) -> ExecConfig {
    let exec = ExecConfig {
        limits: limits(section),
        weight: weight(section),
        timeout: section.time_limit("timeout"),
    };
    section.finish();
    exec
}

/// Kinds that a config file cannot define, because the binary does.
pub const BUILT_IN_KINDS: [&str; 2] = [crate::exec::KIND, crate::flood::KIND];

impl TaskConfig {
    /// The argv of a job with these arguments.
    ///
    /// # Errors
    ///
    /// When a placeholder has no argument.
    pub fn argv(&self, args: &Value) -> Result<Vec<String>, Error> {
        let mut argv = vec![self.command.clone()];
        for template in &self.args {
            argv.push(template.fill(args)?);
        }
        Ok(argv)
    }

    /// Checks that arguments fill every placeholder.
    ///
    /// # Errors
    ///
    /// When one has no argument.
    pub fn check_args(&self, args: &Value) -> Result<(), Error> {
        let mut templates = self.args.iter().chain(&self.stdin);
        templates.try_for_each(|template| template.fill(args).map(drop))
    }

    /// Whether a job needs arguments at all.
    pub fn needs_args(&self) -> bool {
        self.args.iter().chain(&self.stdin).any(|template| template.names().next().is_some())
    }
}

/// What a section says of the jobs that it is about, be it a task's or a schedule's.
pub(super) fn job_settings(section: &Section<'_>) -> JobSettings {
    JobSettings {
        queue: section.parsed("queue", "the name of a queue", |text| Ok(text.parse()?)),
        priority: section.parsed_or_number("priority", "a band like \"bulk\", or a whole number", |text| {
            Ok(text.parse()?)
        }),
        max_attempts: section
            .parsed_or_number("max_attempts", "a whole number, or \"none\"", |text| Ok(text.parse()?)),
        backoff: section.parsed(
            "backoff",
            "a back-off like \"exponential:10s:1h\"",
            |text| Ok(text.parse()?),
        ),
        timeout: section.time_limit("timeout"),
    }
}

/// Reads one section; `None` when the command is missing.
pub(super) fn read(name: &str, section: &Section<'_>) -> Option<TaskConfig> {
    check_name(name, section);
    let command = section.parsed("command", "the name or path of a program", program);
    let job = job_settings(section);
    let task = TaskConfig {
        command: command.clone().unwrap_or_default(),
        args: section
            .list("args", "a list of strings", |text| without_nul(text).and_then(Template::parse))
            .unwrap_or_default(),
        env: section.texts("env", variable, verbatim).unwrap_or_default().into_iter().collect(),
        env_pass: section.list("env_pass", "a list of names", variable).unwrap_or_default(),
        cwd: section.parsed("cwd", "the path of a directory", verbatim).map(PathBuf::from),
        stdin: section.parsed("stdin", "a string", Template::parse),
        timeout: job.timeout,
        limits: limits(section),
        weight: weight(section),
        grace: section.duration("grace"),
        on_shutdown: super::on_shutdown(section),
        queue: job.queue,
        priority: job.priority,
        max_attempts: job.max_attempts,
        backoff: job.backoff,
        permanent_exit_codes: section.wholes("permanent_exit_codes", 1, 255).unwrap_or_default(),
        log_bytes_max: section.whole("log_bytes_max", 0, u32::try_from(LOG_BYTES_MAX).unwrap_or(u32::MAX)),
    };
    section.finish();
    command.is_some().then_some(task)
}

fn limits(section: &Section<'_>) -> Limits {
    Limits {
        max_rss: section.memory("max_rss"),
        max_cpu_time: section.time_limit("max_cpu_time"),
        nice: section.whole("nice", 0, NICE_MAX.into()).and_then(|nice| u8::try_from(nice).ok()),
        ionice: section
            .parsed("ionice", "a class like \"idle\" or \"best-effort:7\"", |text| Ok(text.parse()?)),
    }
}

fn weight(section: &Section<'_>) -> Weight {
    let Some(weight) = section.section("weight") else { return Weight::NONE };
    let read = Weight {
        cpu_milli: weight.cpus("cpu").unwrap_or(0),
        memory_bytes: weight.memory("memory").unwrap_or(0),
    };
    weight.finish();
    read
}

fn check_name(name: &str, section: &Section<'_>) {
    if let Err(error) = Kind::new(name) {
        section.tell_here(format!("the task {name:?}"), error.why(), error.fix());
    } else if BUILT_IN_KINDS.contains(&name) {
        section.tell_here(
            format!("the task `{name}`"),
            "it is built in and cannot be defined again",
            "choose another name",
        );
    }
    if !section.has("command") {
        section.tell_here(
            format!("[tasks.{name}] has no `command`"),
            "a task of the config file runs a program",
            "add command = \"PROGRAM\"",
        );
    }
}

fn program(text: &str) -> Result<String, Error> {
    if text.is_empty() || text.contains('\0') {
        return Err(Error::usage("the command", "it names no program", "write command = \"PROGRAM\""));
    }
    if text.contains(' ') && !text.contains('/') {
        return Err(Error::usage(
            "the command",
            "it has a space in it: the whole text is taken as the name of one program",
            "put the arguments into a list: args = [\"...\"]",
        ));
    }
    verbatim(text)
}

/// Checks a text that every job's process gets as it stands here.
fn verbatim(text: &str) -> Result<String, Error> {
    without_nul(text)?;
    // A brace that makes no placeholder is a brace.
    let template = Template::parse(text).ok();
    match template.as_ref().and_then(|template| template.names().next()) {
        Some(name) => Err(Error::usage(
            format!("the text {:?}", taskwright_core::name::shown(text)),
            format!("`{{{name}}}` is not filled here: only `args` and `stdin` have placeholders"),
            "pass the argument of the job in `args` or `stdin`, or write the text without braces",
        )),
        None => Ok(text.to_owned()),
    }
}

fn without_nul(text: &str) -> Result<&str, Error> {
    if text.contains('\0') {
        return Err(Error::usage(
            format!("the text {:?}", taskwright_core::name::shown(text)),
            "a NUL character is in it, which no process can be given",
            "pass such data by a file or by standard input",
        ));
    }
    Ok(text)
}

/// Checks the name of an environment variable.
pub(crate) fn variable(text: &str) -> Result<String, Error> {
    if text.is_empty() || text.contains(['=', '\0']) {
        return Err(Error::usage(
            format!("the variable {:?}", taskwright_core::name::shown(text)),
            "a name of an environment variable is not empty and has no `=`",
            "write a name like LANG",
        ));
    }
    Ok(text.to_owned())
}

fn as_text<T: std::fmt::Display, S: serde::Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

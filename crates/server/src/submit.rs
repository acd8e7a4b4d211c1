//! From what somebody asks for to a job that may be stored: the same for a flag, a line of a file, and a request.

use std::collections::BTreeSet;

use taskwright_core::{
    Args, Backoff, Delivery, JobId, Kind, MaxAttempts, Namespace, NewJob, Owner, Priority, QueueName,
    Timestamp, UniqueKey,
};

use crate::App;
use crate::config::{Config, DEFAULT_FILE};
use crate::error::{Error, nearest};

/// What is said about a job. What is not said comes from `[tasks.KIND]` or from the program's task, and then from the built-in default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) owner: Option<Owner>,
    pub(crate) queue: Option<QueueName>,
    pub(crate) priority: Option<Priority>,
    pub(crate) run_at: Option<Timestamp>,
    pub(crate) held: bool,
    pub(crate) max_attempts: Option<MaxAttempts>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) timeout: Option<std::time::Duration>,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) unique: Option<UniqueKey>,
}

impl Asked {
    /// The job.
    ///
    /// # Errors
    ///
    /// When its task could not run with these arguments.
    pub(crate) fn job(
        &self,
        app: &App,
        config: &Config,
        id: JobId,
        namespace: Namespace,
        kind: Kind,
        args: Args,
    ) -> Result<NewJob, Error> {
        check_args(config, &kind, &args)?;
        let task = config.tasks.get(kind.as_str());
        let form = app.registry().form(&kind);
        let unique = form.map(|form| form.unique(&args)).transpose()?.flatten();
        let mut job = NewJob::new(id, kind, args);
        job.namespace = namespace;
        job.owner.clone_from(&self.owner);
        job.run_at = self.run_at;
        job.held = self.held;
        job.unique = self.unique.clone().or(unique);
        if let Some(delivery) = self.delivery.or(form.map(|form| form.delivery)) {
            job.delivery = delivery;
        }
        let queue = self.queue.as_ref().or(task.and_then(|task| task.queue.as_ref()));
        if let Some(queue) = queue.or(form.map(|form| &form.queue)) {
            job.queue.clone_from(queue);
        }
        let priority = self.priority.or(task.and_then(|task| task.priority));
        if let Some(priority) = priority.or(form.map(|form| form.priority)) {
            job.priority = priority;
        }
        let attempts = self.max_attempts.or(task.and_then(|task| task.max_attempts));
        if let Some(attempts) = attempts.or(form.map(|form| form.max_attempts)) {
            job.max_attempts = attempts;
        }
        job.backoff = self.backoff.or(task.and_then(|task| task.backoff));
        job.timeout = self.timeout.or(task.and_then(|task| task.timeout));
        Ok(job)
    }
}

/// Refuses arguments that the task could not run with, before they are stored.
pub(crate) fn check_args(config: &Config, kind: &Kind, args: &Args) -> Result<(), Error> {
    if kind.as_str() == crate::exec::KIND {
        return crate::exec::ExecArgs::read(args).map(drop);
    }
    match config.tasks.get(kind.as_str()) {
        Some(task) if task.needs_args() => task.check_args(&args.parse()?),
        _ => Ok(()),
    }
}

/// The queue that jobs of a kind wait in unless they say another; `None` where nobody has said one.
pub(crate) fn queue_of_task<'a>(app: &'a App, config: &'a Config, kind: &str) -> Option<&'a QueueName> {
    let task = config.tasks.get(kind).and_then(|task| task.queue.as_ref());
    task.or_else(|| Some(&app.registry().form(&Kind::new(kind).ok()?)?.queue))
}

/// How many executions the items of a bulk get that does not say: what `[tasks.KIND]` does; `None` where that is the default, or none.
pub(crate) fn attempts_of_items(config: &Config, kind: &str) -> Option<u32> {
    match config.tasks.get(kind)?.max_attempts? {
        MaxAttempts::Limited(most) => Some(most.get()),
        MaxAttempts::Unlimited => None,
    }
}

/// The kinds that can be run here.
pub(crate) fn kinds<'a>(app: &'a App, config: &'a Config) -> BTreeSet<&'a str> {
    let own = app.kinds().iter().map(String::as_str);
    let configured = config.tasks.keys().map(String::as_str);
    own.chain(configured).chain(crate::config::task::BUILT_IN_KINDS).collect()
}

/// The same for a server that told which it knows.
///
/// # Errors
///
/// When it knows no such kind; the nearest one is named.
pub(crate) fn check_kind_there(known: &Config, kind: &str, server: &str) -> Result<(), Error> {
    if known.tasks.contains_key(kind) {
        return Ok(());
    }
    let fix = match nearest(kind, known.tasks.keys().map(String::as_str)) {
        Some(meant) => format!("write `{meant}`, or pass --any-kind if another program runs it"),
        None => "pass --any-kind if another program runs it".to_owned(),
    };
    let kind = taskwright_core::name::shown(kind);
    Err(Error::usage(format!("the kind {kind:?} is not known"), format!("{server} knows no such task"), fix))
}

/// Checks that somebody can run jobs of this kind. `pass` is how to say that another program runs it.
///
/// # Errors
///
/// When neither the program, the config file nor the binary knows it; the nearest kind is named.
pub(crate) fn check_kind(app: &App, config: &Config, kind: &str, pass: &str) -> Result<(), Error> {
    let known = kinds(app, config);
    if known.contains(kind) {
        return Ok(());
    }
    let source = match &config.file {
        Some(file) => format!("{} defines no such task", file.display()),
        None => format!("there is no {DEFAULT_FILE} here that could define it"),
    };
    let fix = match nearest(kind, known.iter().copied()) {
        Some(meant) => format!("write `{meant}`, or pass {pass} if another program runs it"),
        None => format!("define [tasks.{kind}], or pass {pass} if another program runs it"),
    };
    let kind = taskwright_core::name::shown(kind);
    Err(Error::usage(format!("the kind {kind:?} is not known"), source, fix))
}

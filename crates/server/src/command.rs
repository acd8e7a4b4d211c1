//! Command tasks: the built-in `exec`, and `[tasks.NAME]` of the config file. Argv verbatim, never a shell.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use taskwright::child::{OWNER, forward, owner};
pub(crate) use taskwright::child::{kill_orphans_of, orphan_killer};
use taskwright::core::attempt::AttemptEnd;
use taskwright::process::{Command, Host, Output, Reports, Stop, Timing, run};
use taskwright::store::SharedStore;
use taskwright::{Context, Env, Handler, HandlerFuture, Kind, Outcome, Registry, StopCause, TaskOptions};

use crate::config::{Config, TaskConfig};
use crate::error::Error;
use crate::exec::{self, ExecArgs};

/// Names one attempt in the environment of everything that its command starts.
const ATTEMPT_VARIABLE: &str = "TASKWRIGHT_ATTEMPT_ID";

/// The directory in which a command finds what is attached to its job.
const ATTACHMENTS_VARIABLE: &str = "TASKWRIGHT_ATTACHMENTS";

/// Beside its own grace, a command needs this much of the worker's for its end to be noticed and written down.
const STOP_EARLIER: Duration = Duration::from_secs(1);

/// Registers `exec`, `flood` and every command task of the config file.
///
/// # Errors
///
/// When a task has the name of another.
pub(crate) fn register(
    registry: Registry,
    config: &Config,
    store: &SharedStore,
    env: &Env,
    worker_grace: Duration,
) -> Result<Registry, Error> {
    let host = Arc::new(Host::new(Arc::new(EnvTiming(env.clone()))));
    let runner = Runner { host, store: Arc::clone(store), worker_grace };
    let base = config.file.as_deref().and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
    let exec = Exec { runner: runner.clone() };
    let registry = registry.register::<crate::flood::Flood>()?;
    let of_exec = TaskOptions {
        timeout: config.exec.timeout,
        limits: config.exec.limits,
        weight: config.exec.weight,
        ..TaskOptions::default()
    };
    let mut registry = registry.add(Kind::new(exec::KIND)?, of_exec, exec)?;
    for (name, task) in &config.tasks {
        let options = TaskOptions {
            timeout: task.timeout,
            backoff: task.backoff.unwrap_or_default(),
            // A command that is asked to end has its own grace first, and is dropped only after that.
            cancel_grace: TaskOptions::CANCEL_GRACE.max(task.grace.unwrap_or_default() + STOP_EARLIER),
            limits: task.limits,
            weight: task.weight,
            on_shutdown: task.on_shutdown,
            ..TaskOptions::default()
        };
        let handler = Configured { runner: runner.clone(), task: Arc::new(task.clone()), base: base.clone() };
        registry = registry.add(Kind::new(name)?, options, handler)?;
    }
    Ok(registry)
}

/// The runtime's clock, as the process room asks for it.
struct EnvTiming(Env);

impl Timing for EnvTiming {
    fn monotonic_us(&self) -> u64 {
        self.0.monotonic_us()
    }

    fn sleep(&self, duration: Duration) -> taskwright::env::Sleep {
        self.0.sleep(duration)
    }
}

/// The built-in task: the job's arguments are the command.
struct Exec {
    runner: Runner,
}

impl Handler for Exec {
    fn call(&self, ctx: Context) -> HandlerFuture {
        let runner = self.runner.clone();
        Box::pin(async move {
            let command = match ExecArgs::read(ctx.raw_args()) {
                Ok(args) => exec_command(args),
                Err(error) => return Outcome::Fail { error: one_line(&error) },
            };
            runner.execute(&ctx, command, &[]).await
        })
    }

    fn runs_child_processes(&self) -> bool {
        true
    }
}

fn exec_command(args: ExecArgs) -> Command {
    let mut argv = args.command.into_iter();
    let mut command = Command::new(argv.next().unwrap_or_default()).args(argv);
    command.env.extend(args.env.into_iter().map(|(name, value)| (name.into(), value.into())));
    command.cwd = args.cwd.map(PathBuf::from);
    command.stdin = args.stdin.unwrap_or_default().into_bytes();
    command
}

/// A task of the config file: the job's arguments fill its placeholders.
struct Configured {
    runner: Runner,
    task: Arc<TaskConfig>,
    base: PathBuf,
}

impl Handler for Configured {
    fn call(&self, ctx: Context) -> HandlerFuture {
        let runner = self.runner.clone();
        let (task, base) = (Arc::clone(&self.task), self.base.clone());
        Box::pin(async move {
            let command = match configured_command(&task, &base, &ctx) {
                Ok(command) => command,
                Err(error) => return Outcome::Fail { error: one_line(&error) },
            };
            runner.execute(&ctx, command, &task.permanent_exit_codes).await
        })
    }

    fn runs_child_processes(&self) -> bool {
        true
    }
}

fn configured_command(task: &TaskConfig, base: &Path, ctx: &Context) -> Result<Command, Error> {
    let args = ctx.args::<serde_json::Value>()?;
    let mut argv = task.argv(&args)?.into_iter();
    let mut command = Command::new(argv.next().unwrap_or_default()).args(argv);
    command.env_pass.extend(task.env_pass.iter().cloned());
    command.env.extend(task.env.iter().map(|(name, value)| (name.into(), value.into())));
    // A path that is not absolute is meant from where the config file lies.
    let cwd = task.cwd.as_ref().map_or_else(|| base.to_owned(), |cwd| base.join(cwd));
    command.cwd = (!cwd.as_os_str().is_empty()).then_some(cwd);
    if let Some(stdin) = &task.stdin {
        command.stdin = stdin.fill(&args)?.into_bytes();
    }
    command.grace = task.grace.unwrap_or(command.grace);
    command.log_bytes_max = task.log_bytes_max.map_or(command.log_bytes_max, |max| max as usize);
    Ok(command)
}

/// How long after a store did not answer it is asked again what is attached to a job: 100 ms.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// What every command task needs to run its commands.
#[derive(Clone)]
struct Runner {
    host: Arc<Host>,
    store: SharedStore,
    /// How long the worker waits for what runs when it stops.
    worker_grace: Duration,
}

impl Runner {
    /// Runs the command of one attempt, and says how that ended.
    async fn execute(&self, ctx: &Context, mut command: Command, permanent: &[u32]) -> Outcome {
        let attempt = format!("{}/{}/{}", ctx.job_id(), ctx.attempt(), ctx.worker_id());
        let told = [
            ("TASKWRIGHT_JOB_ID", ctx.job_id().to_string()),
            ("TASKWRIGHT_KIND", ctx.kind().to_string()),
            ("TASKWRIGHT_ATTEMPT", ctx.attempt().to_string()),
            ("TASKWRIGHT_WORKER_ID", ctx.worker_id().to_string()),
            (OWNER, owner(ctx.worker_id(), &*self.store)),
        ];
        command.env.extend(told.map(|(name, value)| (name.into(), value.into())));
        // Removed when the attempt has ended.
        let attached = match unpack(ctx).await {
            Ok(attached) => attached,
            Err(Unread::Stopped) => {
                return Outcome::GiveBack { reason: "it was stopped before it could begin".to_owned() };
            }
            Err(Unread::For(error)) => return Outcome::Retry { error, after: None, end: AttemptEnd::Failed },
        };
        if let Some(directory) = &attached {
            command.env.insert(ATTACHMENTS_VARIABLE.into(), directory.path().into());
        }
        command.limits = ctx.limits();
        command.tag = Some((ATTEMPT_VARIABLE.to_owned(), attempt));

        let (reports, chunks, progress) = Reports::channels();
        let patience = patience(self.worker_grace, command.grace);
        let running = run(&command, &self.host, reports, stop(ctx, patience));
        let (ended, last_words) = tokio::join!(running, forward(ctx, chunks, progress));
        match ended {
            Ok(output) => {
                ctx.set_usage(output.usage);
                outcome(ctx, &output, permanent, &last_words)
            }
            // A machine that is short of something, or a program that is being installed, may be better off later.
            Err(error) => Outcome::Retry { error: error.to_string(), after: None, end: AttemptEnd::Failed },
        }
    }
}

/// Writes what is attached to the job into files, in a directory that nobody else may look into; `None` when there is nothing.
async fn unpack(ctx: &Context) -> Result<Option<tempfile::TempDir>, Unread> {
    let views = loop {
        match ctx.attachments().await {
            Ok(views) => break views,
            Err(error) => read_again(ctx, error).await?,
        }
    };
    if views.is_empty() {
        return Ok(None);
    }
    let unwritable =
        |error: std::io::Error| Unread::For(format!("writing what is attached into files: {error}"));
    let own = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    let directory = tempfile::Builder::new()
        .prefix("taskwright-attachments-")
        .permissions(own)
        .tempdir()
        .map_err(unwritable)?;
    for view in views {
        let name = view.name.as_str();
        let bytes = loop {
            match ctx.attachment(name).await {
                Ok(bytes) => break bytes,
                Err(error) => read_again(ctx, error).await?,
            }
        };
        // The name is one that a file can have, without any directory.
        std::fs::write(directory.path().join(name), bytes.unwrap_or_default()).map_err(unwritable)?;
    }
    Ok(Some(directory))
}

/// Why what is attached to a job was not read.
enum Unread {
    /// The attempt is to end.
    Stopped,
    /// For this.
    For(String),
}

/// Is ready when it is to be read again: a store that is out of order costs no attempt. Otherwise why it is not.
async fn read_again(ctx: &Context, error: taskwright::Error) -> Result<(), Unread> {
    if error.is_transient() || error.as_store().is_some_and(taskwright_store::Error::is_unreachable) {
        tracing::debug!(job = %ctx.job_id(), %error, "what is attached to a job is read later");
        return ctx.pause(READ_AGAIN).await.map_err(|_| Unread::Stopped);
    }
    Err(Unread::For(format!("reading what is attached: {error}")))
}

/// How long a shutdown lets a command go on: until what is left of the worker's grace is what it takes to stop it, but for
/// two thirds of a short one at least.
fn patience(worker_grace: Duration, command_grace: Duration) -> Duration {
    worker_grace - (command_grace + STOP_EARLIER).min(worker_grace / 3)
}

/// Is ready when the command is to be stopped. A shutdown lets it go on for as long as the worker can wait.
async fn stop(ctx: &Context, patience: Duration) -> Stop {
    match ctx.cancelled().await {
        StopCause::Cancelled { .. } => Stop::Cancelled,
        StopCause::TimedOut => Stop::Timeout,
        StopCause::Lost => Stop::Fenced,
        StopCause::Shutdown => {
            ctx.env().sleep(patience).await;
            Stop::Shutdown
        }
    }
}

fn outcome(ctx: &Context, output: &Output, permanent: &[u32], last_words: &str) -> Outcome {
    let words = if last_words.is_empty() {
        output.exit.to_string()
    } else {
        format!("{}: {last_words}", output.exit)
    };
    match output.stopped {
        // It was asked to stop and had finished its work all the same.
        _ if output.exit.is_success() => Outcome::Completed { result: None },
        Some(Stop::Cancelled) => Outcome::Cancelled {
            reason: ctx.stop_cause().map_or_else(|| "cancelled".to_owned(), ToString::to_string),
        },
        Some(Stop::Timeout) => {
            Outcome::Retry { error: format!("timed out; {words}"), after: None, end: AttemptEnd::TimedOut }
        }
        Some(stop) => {
            Outcome::Retry { error: format!("{stop}; {words}"), after: None, end: AttemptEnd::Failed }
        }
        None if is_permanent(output, permanent) => Outcome::Fail { error: words },
        None => Outcome::Retry { error: words, after: None, end: AttemptEnd::Failed },
    }
}

fn is_permanent(output: &Output, permanent: &[u32]) -> bool {
    let taskwright::process::Exit::Code(code) = output.exit else { return false };
    u32::try_from(code).is_ok_and(|code| permanent.contains(&code))
}

fn one_line(error: &Error) -> String {
    let report = &error.reports()[0];
    format!("{}: {}", report.what, report.why)
}

//! The worker's side: starts the process of an attempt, and tells how that ended.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use taskwright_core::Outcome;
use taskwright_core::attempt::AttemptEnd;
use tokio::net::UnixListener;

use super::attempt::Asked;
use super::forward::forward;
use super::link;
use super::wire::{Answer, Answered, Order};
use super::{LINK, OWNER, VARIABLE, owner};
use crate::cancel::StopCause;
use crate::context::Context;
use crate::env::{Env, Sleep};
use crate::handler::{Handler, HandlerFuture};
use crate::process::{Command, Host, Output, Reports, Stop, Timing, run};

/// What an answer may have in bytes: a result, and follow-up jobs with their arguments, as JSON in JSON.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// What a directory for temporary files may have in bytes, so that the name of a socket below it fits in what systems have for one.
const TEMP_BYTES_MAX: usize = 56;
/// Where it is else.
const TEMP_SHORT: &str = "/tmp";

/// The program that this process runs, whatever stands under its name by now.
const RUNNING_PROGRAM: &str = "/proc/self/exe";

/// Names one attempt in the environment of everything that it starts.
const ATTEMPT_VARIABLE: &str = "TASKWRIGHT_ATTEMPT_ID";

/// The handler of a task whose attempts run in processes of their own.
pub(crate) struct ChildHandler {
    /// How long the process has between the request to stop and the end.
    pub(crate) grace: Duration,
}

impl Handler for ChildHandler {
    fn call(&self, ctx: Context) -> HandlerFuture {
        let grace = self.grace;
        Box::pin(async move { execute(&ctx, grace).await.unwrap_or_else(failed) })
    }

    fn runs_child_processes(&self) -> bool {
        true
    }
}

fn failed(error: String) -> Outcome {
    Outcome::Retry { error, after: None, end: AttemptEnd::Failed }
}

async fn execute(ctx: &Context, grace: Duration) -> Result<Outcome, String> {
    if ctx.env().is_simulated() {
        let why = "a task in a process of its own takes real time, and this worker is on a simulated clock: test it with \
                   `testing::Kit` or `testing::perform`, which run it in the process of the test";
        return Ok(Outcome::Fail { error: why.to_owned() });
    }
    if !Asked::can_be() {
        return Err("a task in a process of its own needs a program that runs `App::run_until` or \
                    `taskwright_server::main`, which can be started for one attempt"
            .to_owned());
    }
    let place =
        Place::make(ctx.env()).map_err(|error| format!("making a directory for the answer: {error}"))?;
    let listener = place.listen().map_err(|error| format!("making a socket for what it asks: {error}"))?;
    let command = command(ctx, &place, grace)?;
    let (reports, chunks, progress) = Reports::channels();
    let running = run(&command, host(ctx.env()), reports, stopped(ctx));
    let running = async { tokio::join!(running, forward(ctx, chunks, progress)) };
    let (ended, last_words) = tokio::select! {
        ended = running => ended,
        never = link::answer(ctx, listener) => match never {},
    };
    let output = ended.map_err(|error| error.to_string())?;
    ctx.set_usage(output.usage);
    let outcome = match place.answer() {
        Some((outcome, follow_ups, panic)) if output.exit.is_success() => {
            ctx.follow(follow_ups);
            if let Some(panic) = panic {
                ctx.note_panic(panic);
            }
            outcome
        }
        _ => crashed(&output, &last_words),
    };
    Ok(match (outcome, ctx.stop_cause()) {
        // The child cannot tell this from other reasons to stop.
        (Outcome::Retry { .. }, Some(cause @ StopCause::Cancelled { .. })) => {
            Outcome::Cancelled { reason: cause.to_string() }
        }
        (outcome, _) => outcome,
    })
}

fn command(ctx: &Context, place: &Place, grace: Duration) -> Result<Command, String> {
    let program = program().map_err(|error| format!("finding the program of this process: {error}"))?;
    let mut words = std::env::args_os();
    let mut command = Command { arg0: words.next(), ..Command::new(program) }.args(words);
    // It is the same program on the same store.
    command.env_pass = vec!["*".to_owned()];
    let attempt = format!("{}/{}/{}", ctx.job_id(), ctx.attempt(), ctx.worker_id());
    let told = [
        (VARIABLE, format!("{}:{}", std::process::id(), place.file().display())),
        (OWNER, owner(ctx.worker_id(), ctx.store())),
    ];
    command.env.extend(told.map(|(name, value)| (name.into(), value.into())));
    command.tag = Some((ATTEMPT_VARIABLE.to_owned(), attempt));
    command.stdin = serde_json::to_vec(&Order::of(ctx)).map_err(|error| error.to_string())?;
    command.limits = ctx.limits();
    command.grace = grace;
    Ok(command)
}

fn program() -> std::io::Result<PathBuf> {
    let running = Path::new(RUNNING_PROGRAM);
    if running.exists() { Ok(running.to_owned()) } else { std::env::current_exe() }
}

/// What is told of a process that left no answer.
fn crashed(output: &Output, last_words: &str) -> Outcome {
    let words = if last_words.is_empty() { String::new() } else { format!(": {last_words}") };
    failed(match output.stopped {
        Some(stop) => format!("{stop}; its process: {}{words}", output.exit),
        None => format!("its process crashed: {}{words}", output.exit),
    })
}

/// Is ready when the process is to be asked to stop.
async fn stopped(ctx: &Context) -> Stop {
    match ctx.cancelled().await {
        StopCause::Cancelled { .. } => Stop::Cancelled,
        StopCause::TimedOut => Stop::Timeout,
        StopCause::Lost => Stop::Fenced,
        StopCause::Shutdown => Stop::Shutdown,
    }
}

/// Where all of them run.
fn host(env: &Env) -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::new(Arc::new(EnvTiming(env.clone()))))
}

struct EnvTiming(Env);

impl Timing for EnvTiming {
    fn monotonic_us(&self) -> u64 {
        self.0.monotonic_us()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.0.sleep(duration)
    }
}

/// A directory of this user's own for the answer of one attempt; goes with the attempt.
struct Place(PathBuf);

impl Place {
    fn make(env: &Env) -> std::io::Result<Self> {
        let mut random = [0; 12];
        env.fill(&mut random);
        let name =
            random.iter().fold("taskwright-child-".to_owned(), |name, byte| format!("{name}{byte:02x}"));
        let temp = std::env::temp_dir();
        let is_short = temp.as_os_str().len() <= TEMP_BYTES_MAX;
        let directory = if is_short { temp.join(name) } else { Path::new(TEMP_SHORT).join(name) };
        DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Self(directory))
    }

    fn file(&self) -> PathBuf {
        self.0.join("answer")
    }

    /// Where the child asks. Needs a runtime.
    fn listen(&self) -> std::io::Result<UnixListener> {
        UnixListener::bind(self.0.join(LINK))
    }

    /// What the child wrote; `None` when it did not come to that, or not to the end of it.
    fn answer(&self) -> Option<Answered> {
        let file: &Path = &self.file();
        if std::fs::metadata(file).ok()?.len() > ANSWER_BYTES_MAX {
            return Some((
                Outcome::Fail { error: format!("it gave back more than {ANSWER_BYTES_MAX} bytes") },
                Vec::new(),
                None,
            ));
        }
        let answer: Answer = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        answer.outcome().ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(directory = %self.0.display(), %error, "the answer of a child is left behind");
        }
    }
}

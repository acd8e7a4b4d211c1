//! What a child asks of its worker while it runs: the steps of its job, to keep one more, and whether the attempt still owns the job.
//!
//! The worker listens on a socket beside the answer, where nobody comes but its own user. A question has a connection of its own, so none
//! waits for another. What a step gave is kept by the worker, with the key and the number of *its* attempt: the fence holds whatever the
//! child believes.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskwright_core::limit::STEP_BYTES_MAX;
use taskwright_core::{JobId, StepName, Timestamp, Verdict, WorkerId};
use taskwright_store::{Error, NewStep, Reply, StepStore, StepView};
use tokio::net::{UnixListener, UnixStream as AsyncStream};

use crate::context::Context;
use crate::env::Env;

/// What a question may have in bytes: what a step gave, as JSON in JSON, which is twice as long at most, and its name.
const QUESTION_BYTES_MAX: usize = 2 * STEP_BYTES_MAX + 1_024;
/// How many questions are answered at a time; further ones wait.
const OPEN_MAX: usize = 32;
/// How long a question may take to be asked. They come whole; who connects and says nothing is none of ours.
const QUESTION_TIME: Duration = Duration::from_secs(10);
/// How long the worker is not asked again when the system refuses a connection, mostly for want of file descriptors.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// After this much silence of its worker a child does not believe that it still owns the job.
const HEARTBEAT_TIME: Duration = Duration::from_secs(1);
/// How much is read at once.
const READ_BYTES: usize = 16 << 10;

#[derive(Serialize, Deserialize)]
enum Question {
    /// Whether the attempt owns the job.
    Heartbeat,
    /// What earlier attempts kept.
    Steps,
    /// To keep what a step gave.
    Keep { name: StepName, result: String },
}

#[derive(Serialize, Deserialize)]
enum Said {
    Heartbeat(bool),
    Steps(Vec<Step>),
    Kept(bool),
    /// The store is out of order.
    Unavailable {
        what: String,
        why: String,
    },
    /// It will not be done.
    Refused {
        what: String,
        why: String,
        fix: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Step {
    name: StepName,
    attempt: u32,
    at: Timestamp,
    result: String,
}

/// Answers what the child of this attempt asks, for as long as somebody waits here.
pub(super) async fn answer(ctx: &Context, listener: UnixListener) -> Infallible {
    let mut open = Vec::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            ctx.env().sleep(REFUSED_PAUSE).await;
            continue;
        };
        open.retain(|one: &crate::env::Spawned<()>| !one.is_finished());
        if open.len() == OPEN_MAX {
            // It tells nobody how it ended.
            let _ = open.remove(0).await;
        }
        let ctx = ctx.clone();
        open.push(ctx.env().clone().spawn("child link", async move {
            if let Err(error) = respond(&ctx, &stream).await {
                tracing::debug!(job = %ctx.job_id(), %error, "a question of a child has no answer");
            }
        }));
    }
}

async fn respond(ctx: &Context, stream: &AsyncStream) -> io::Result<()> {
    let question = ctx.env().timeout(QUESTION_TIME, read(stream)).await;
    let question = question.ok_or(io::ErrorKind::TimedOut)??;
    let said = match serde_json::from_slice(&question)? {
        Question::Heartbeat => Ok(Said::Heartbeat(ctx.heartbeat())),
        Question::Steps => steps(ctx).await,
        Question::Keep { name, result } => keep(ctx, name, result).await,
    };
    let said = said.unwrap_or_else(|error| match error.is_transient() {
        true => Said::Unavailable { what: error.what().to_owned(), why: error.why().to_owned() },
        false => Said::Refused {
            what: error.what().to_owned(),
            why: error.why().to_owned(),
            fix: error.fix().to_owned(),
        },
    });
    write(stream, &serde_json::to_vec(&said)?).await
}

async fn steps(ctx: &Context) -> Result<Said, Error> {
    let of = |StepView { name, attempt, at, result }| Step { name, attempt, at, result };
    Ok(Said::Steps(ctx.step_store().steps(ctx.job_id()).await?.into_iter().map(of).collect()))
}

async fn keep(ctx: &Context, name: StepName, result: String) -> Result<Said, Error> {
    let step = NewStep { key: ctx.key(), attempt: ctx.attempt(), at: ctx.env().now(), name, result };
    let verdicts = ctx.step_store().keep_steps(ctx.worker_id(), vec![step]).await?;
    Ok(Said::Kept(verdicts == [Verdict::Accepted]))
}

/// Reads what is said until the other side says no more.
async fn read(stream: &AsyncStream) -> io::Result<Vec<u8>> {
    let (mut said, mut space) = (Vec::new(), vec![0; READ_BYTES]);
    loop {
        stream.readable().await?;
        match stream.try_read(&mut space) {
            Ok(0) => return Ok(said),
            Ok(count) if said.len() + count > QUESTION_BYTES_MAX => {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Ok(count) => said.extend_from_slice(&space[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn write(stream: &AsyncStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The child's end.
pub(crate) struct Link {
    path: PathBuf,
    env: Env,
}

impl Link {
    pub(super) fn to(path: PathBuf, env: &Env) -> Self {
        Self { path, env: env.clone() }
    }

    /// Whether the worker says that the attempt owns the job.
    pub(crate) fn heartbeat(&self) -> bool {
        matches!(ask(&self.path, &Question::Heartbeat, Some(HEARTBEAT_TIME)), Ok(Said::Heartbeat(true)))
    }

    /// Asks, on a thread that may wait.
    async fn ask(&self, question: Question) -> Result<Said, Error> {
        let path = self.path.clone();
        match self.env.blocking(move || ask(&path, &question, None)).await {
            Ok(Said::Unavailable { what, why }) => Err(Error::unavailable(what, why)),
            Ok(Said::Refused { what, why, fix }) => Err(refused(what, why, fix)),
            Ok(said) => Ok(said),
            Err(error) => Err(unheard(&error.to_string())),
        }
    }
}

impl StepStore for Link {
    fn keep_steps(&self, _worker: WorkerId, steps: Vec<NewStep>) -> Reply<'_, Vec<Verdict>> {
        Box::pin(async move {
            let mut verdicts = Vec::with_capacity(steps.len());
            for step in steps {
                let question = Question::Keep { name: step.name, result: step.result };
                verdicts.push(match self.ask(question).await? {
                    Said::Kept(true) => Verdict::Accepted,
                    Said::Kept(false) => Verdict::Stale,
                    _ => return Err(unheard("it answers something else")),
                });
            }
            Ok(verdicts)
        })
    }

    fn steps(&self, _job: JobId) -> Reply<'_, Vec<StepView>> {
        Box::pin(async move {
            let Said::Steps(steps) = self.ask(Question::Steps).await? else {
                return Err(unheard("it answers something else"));
            };
            let view = |Step { name, attempt, at, result }| StepView { name, attempt, at, result };
            Ok(steps.into_iter().map(view).collect())
        })
    }
}

fn ask(path: &Path, question: &Question, patience: Option<Duration>) -> io::Result<Said> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_write_timeout(patience)?;
    stream.set_read_timeout(patience)?;
    stream.write_all(&serde_json::to_vec(question)?)?;
    stream.shutdown(Shutdown::Write)?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    Ok(serde_json::from_slice(&said)?)
}

fn unheard(why: &str) -> Error {
    refused(
        "asking the worker of this process",
        why,
        "look whether the worker still runs; the job is tried again",
    )
}

fn refused(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Error {
    taskwright_core::Error::invalid(what, why, fix).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use taskwright_core::{Args, Delivery, Kind, MaxAttempts, Namespace, Priority, QueueName};
    use taskwright_store::memory::MemoryStore;
    use taskwright_store::{ClaimedJob, JobKey};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::attempt::{Attempt, Host};
    use crate::cancel::StopCause;
    use crate::registry::Registry;

    /// An attempt at a job that its store does not have.
    fn attempt(env: &Env) -> Arc<Attempt> {
        let (registry, store) = (Arc::new(Registry::new()), Arc::new(MemoryStore::new()));
        let host = Host::new(env.clone(), env.worker_id(), registry, store, Arc::new(Semaphore::new(1)));
        let job = ClaimedJob {
            key: JobKey(1),
            id: env.job_id(),
            attempt: 1,
            namespace: Namespace::default(),
            owner: None,
            kind: Kind::new("test").unwrap(),
            queue: QueueName::default(),
            priority: Priority::DEFAULT,
            args: Args::default(),
            created_at: env.now(),
            claimed_at: env.now(),
            max_attempts: MaxAttempts::default(),
            backoff: None,
            timeout: None,
            delivery: Delivery::default(),
        };
        Arc::new(Attempt::new(job, Arc::new(host), env.now()))
    }

    #[tokio::test]
    async fn a_child_owns_its_job_as_long_as_its_worker_says_so() {
        let (env, directory) = (Env::system(), tempfile::tempdir().unwrap());
        let path = directory.path().join("link");
        let (attempt, listener) = (attempt(&env), UnixListener::bind(&path).unwrap());
        let link = Arc::new(Link::to(path, &env));
        let asked = || {
            let link = Arc::clone(&link);
            env.blocking(move || link.heartbeat())
        };
        let ctx = Context::new(Arc::clone(&attempt));
        let told = async {
            assert!(asked().await);
            attempt.host.lease_until_us.store(env.monotonic_us(), Ordering::Relaxed);
            assert!(!asked().await, "the lease has run out");
            attempt.host.lease_until_us.store(u64::MAX, Ordering::Relaxed);
            assert!(asked().await, "and was renewed");
            attempt.stop(StopCause::Lost, u64::MAX);
            assert!(!asked().await, "the job is somebody else's");
        };
        tokio::select! {
            () = told => {}
            never = answer(&ctx, listener) => match never {},
        }
        assert!(!asked().await, "there is nobody any more");
    }

    #[tokio::test]
    async fn what_a_child_would_keep_of_a_job_that_is_not_its_workers_is_not_kept() {
        let (env, directory) = (Env::system(), tempfile::tempdir().unwrap());
        let path = directory.path().join("link");
        let (attempt, listener) = (attempt(&env), UnixListener::bind(&path).unwrap());
        let link = Link::to(path, &env);
        let name = StepName::new("charge").unwrap();
        let step = NewStep { key: JobKey(0), attempt: 9, at: env.now(), name, result: "7".to_owned() };
        let kept = link.keep_steps(attempt.host.worker, vec![step]);
        let ctx = Context::new(Arc::clone(&attempt));
        tokio::select! {
            kept = kept => assert_eq!(kept.unwrap(), [Verdict::Stale]),
            never = answer(&ctx, listener) => match never {},
        }
    }
}

//! What becomes of jobs whose worker is killed by `kill -9`, on stores of each kind: the workers are processes, and their jobs kill them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use taskwright::core::attempt::AttemptEnd;
use taskwright::store::SharedStore;
use taskwright::{
    Client, Context, Duties, DutyConfig, Env, Job, MaxAttempts, Registry, State, TaskError, Worker,
};

const STEPS: u32 = 30;
/// Where the children find the files of the test.
const SITE: &str = "TASKWRIGHT_TEST_DEATHS";
/// By when all of a test must have happened.
const SOON: Duration = Duration::from_secs(120);
/// What is at once, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Long after that: who is found to be lost in time was not found by its lease.
const LEASE: Duration = Duration::from_secs(60);

/// The directory that the test gave to this child.
pub(crate) fn site() -> PathBuf {
    std::env::var_os(SITE).expect("the test starts it").into()
}

/// What a child does: runs jobs until one kills it.
pub(crate) async fn work(store: SharedStore) {
    let env = Env::system();
    let worker = worker(store, &env).concurrency(1).lease(LEASE).poll(Duration::from_millis(50));
    worker.run(std::future::pending()).await.unwrap();
}

fn worker(store: SharedStore, env: &Env) -> taskwright::worker::Builder {
    let registry = Registry::new()
        .handler("steps", |ctx: Context| async move { thirty_steps(&ctx, &site()).await })
        .unwrap()
        .handler("deadly", |ctx: Context| async move {
            if ctx.attempt() == 1 {
                die().await;
            }
            Ok("at last")
        })
        .unwrap();
    Worker::builder(store, registry, env.clone())
}

async fn die() {
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    std::future::pending::<()>().await;
}

/// Dies when it comes to a step for the first time: before the effect of every other one, and after the others are kept.
async fn thirty_steps(ctx: &Context, site: &Path) -> Result<u32, TaskError> {
    let mut sum = 0;
    for n in 0..STEPS {
        let dies = fs::File::create_new(site.join(format!("died-{n}"))).is_ok();
        let effect = || async move {
            if dies && n % 2 == 1 {
                die().await;
            }
            fs::File::options().append(true).open(effects(site))?.write_all(format!("{n}\n").as_bytes())?;
            Ok(n)
        };
        sum += ctx.step(&format!("step/{n}"), effect).await?;
        if dies {
            die().await;
        }
    }
    Ok(sum)
}

fn effects(site: &Path) -> PathBuf {
    site.join("effects")
}

/// The processes of a worker, one after the other.
struct Mortal<'a> {
    test: &'a str,
    site: &'a Path,
    child: Option<Child>,
    deaths: usize,
}

impl<'a> Mortal<'a> {
    fn new(test: &'a str, site: &'a Path) -> Self {
        Self { test, site, child: None, deaths: 0 }
    }

    fn start(&mut self) {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", self.test, "--ignored", "--nocapture"])
            .env(SITE, self.site)
            .stdout(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Whether it has died since somebody looked.
    fn has_died(&mut self) -> bool {
        let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) else {
            return false;
        };
        assert!(status.code().is_none(), "it was not killed, it ended: {status}");
        self.child = None;
        self.deaths += 1;
        true
    }
}

impl Drop for Mortal<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A job of 30 steps is killed with its worker at each of them: it resumes each time, and the effect of each step takes place once.
/// `test` is the one that the children run.
pub(crate) async fn thirty_steps_outlive_thirty_kills(store: SharedStore, site: &Path, test: &str) {
    let env = Env::system();
    let client = Client::new(store.clone(), env.clone());
    let duties = Duties::start(&store, &env, &DutyConfig::default());
    fs::write(effects(site), "").unwrap();
    let job = client.enqueue(Job::new("steps").max_attempts(MaxAttempts::Unlimited)).await.unwrap();
    let mut worker = Mortal::new(test, site);
    worker.start();
    let over = async {
        while !job.job().await.unwrap().view.state.is_terminal() {
            if worker.has_died() {
                duties.reclaim_now();
                worker.start();
            }
            env.sleep(Duration::from_millis(10)).await;
        }
    };
    env.timeout(SOON, over).await.expect("the job is over");

    let over = job.job().await.unwrap();
    assert_eq!((over.view.state, over.result.as_deref()), (State::Completed, Some("435")), "{over:?}");
    assert_eq!((worker.deaths, over.view.attempt), (STEPS as usize, STEPS + 1));
    let lost = over.attempts.iter().filter(|attempt| attempt.end == AttemptEnd::Lost).count();
    assert_eq!(lost, STEPS as usize);
    let each_once: String = (0..STEPS).map(|n| format!("{n}\n")).collect();
    assert_eq!(fs::read_to_string(effects(site)).unwrap(), each_once);
}

/// CR-X1: given `kill -9` of a worker within a job, another worker runs that at once, and the crash counts as an attempt.
pub(crate) async fn cr_x1(store: SharedStore, site: &Path, test: &str) {
    let env = Env::system();
    let client = Client::new(store.clone(), env.clone());
    let duties = Duties::start(&store, &env, &DutyConfig::default());
    let job = client.enqueue(Job::new("deadly")).await.unwrap();
    let mut doomed = Mortal::new(test, site);
    doomed.start();
    let died = async {
        while !doomed.has_died() {
            env.sleep(Duration::from_millis(1)).await;
        }
    };
    env.timeout(SOON, died).await.expect("its job kills it");

    let died_us = env.monotonic_us();
    let heir = env.spawn("worker", worker(store, &env).run(std::future::pending()));
    duties.reclaim_now();
    let over = job.wait_for(SOON).await.unwrap();
    let took = Duration::from_micros(env.monotonic_us() - died_us);
    assert!(took < AT_ONCE, "{took:?}");
    assert_eq!((over.view.state, over.view.attempt), (State::Completed, 2), "{over:?}");
    let ends: Vec<AttemptEnd> = over.attempts.iter().map(|attempt| attempt.end).collect();
    assert_eq!(ends, [AttemptEnd::Lost, AttemptEnd::Completed]);
    drop(heir);
}

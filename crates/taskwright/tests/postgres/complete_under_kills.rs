//! However often workers are killed, and wherever in it: what a job does in the transaction that completes it takes place once.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use taskwright::{Context, Duties, DutyConfig, Env, Job, JobId, Registry, State, TaskError, Worker};

use crate::drivers::{ALL, Then, Work, take_effect};
use crate::support::{SOON, Site, open};

const URL: &str = "TASKWRIGHT_TEST_URL";
const RUN_DIR: &str = "TASKWRIGHT_TEST_RUN_DIR";

/// Where in its first attempt a job kills its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Nowhere,
    BeforeCompletion,
    BeforeCommit,
    AfterCommit,
}

const POINTS: [Point; 4] = [Point::Nowhere, Point::BeforeCompletion, Point::BeforeCommit, Point::AfterCommit];

/// Ends this process at once, if this is the point.
async fn pass(here: Point, point: Option<Point>) {
    if point == Some(here) {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
        std::future::pending::<()>().await;
    }
}

/// Takes effect, completes, commits, and is killed on the way the first time.
async fn pay(ctx: Context, url: String) -> Result<(), TaskError> {
    let number: usize = ctx.args()?;
    let (driver, point) = (ALL[number % ALL.len()], POINTS[number / ALL.len()]);
    let point = (ctx.attempt() == 1).then_some(point);
    let within = ctx.clone();
    let work: Work<Result<(), taskwright::Error>> = Box::new(move |tx| {
        Box::pin(async move {
            take_effect(tx, &number.to_string()).await;
            pass(Point::BeforeCompletion, point).await;
            within.complete_in(tx, &()).await?;
            pass(Point::BeforeCommit, point).await;
            Ok(())
        })
    });
    driver.transact(&url, work, Then::Commit).await?;
    pass(Point::AfterCommit, point).await;
    Ok(())
}

/// Not a test by itself: a worker that the test below starts, and that its jobs kill.
#[tokio::test]
#[ignore = "started by the other test of this file"]
async fn worker() {
    let (url, run_dir) = (std::env::var(URL).unwrap(), std::env::var(RUN_DIR).unwrap());
    let env = Env::system();
    let store = open(&url, run_dir.as_ref(), &env).await;
    let registry = Registry::new().handler("pay", move |ctx| pay(ctx, url.clone())).unwrap();
    let worker = Worker::builder(store, registry, env).concurrency(1).lease(Duration::from_secs(5));
    worker.build().run(std::future::pending()).await.unwrap();
}

/// A worker that is there again whenever it was killed, and is killed for good in the end.
struct Immortal {
    command: Command,
    child: Child,
    deaths: usize,
}

impl Immortal {
    fn start(site: &Site) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "complete_under_kills::worker", "--ignored", "--nocapture"])
            .env(URL, site.url())
            .env(RUN_DIR, site.run_dir())
            .stdout(Stdio::null());
        let child = command.spawn().unwrap();
        Self { command, child, deaths: 0 }
    }

    fn look_after(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            assert!(status.code().is_none(), "it was not killed, it ended: {status}");
            self.child = self.command.spawn().unwrap();
            self.deaths += 1;
        }
    }
}

impl Drop for Immortal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn what_is_done_in_the_transaction_of_the_completion_is_done_once() {
    let site = Site::new().await;
    let _duties = Duties::start(&site.store, &site.env, &DutyConfig::default());
    let many = ALL.len() * POINTS.len();
    let jobs = (0..many).map(|number| Job::new("pay").args(&number).unwrap());
    let stored = site.client.enqueue_many(jobs).await.unwrap();
    let ids: Vec<JobId> = stored.into_iter().map(|enqueued| enqueued.id).collect();
    let mut worker = Immortal::start(&site);
    let done = async {
        for id in &ids {
            while !site.client.job(*id).await.unwrap().unwrap().view.state.is_terminal() {
                worker.look_after();
                site.env.sleep(Duration::from_millis(20)).await;
            }
        }
    };
    site.env.timeout(SOON * 3, done).await.expect("all are over");
    let killers = ALL.len() * (POINTS.len() - 1);
    // The last one may have been killed after its commit, and nobody has looked since.
    assert!(worker.deaths + 1 >= killers, "{} deaths", worker.deaths);
    drop(worker);

    let effects = site.database.sql("SELECT count(*) || ' of ' || count(DISTINCT what) FROM effect");
    assert_eq!(effects, format!("{many} of {many}"));
    for (number, id) in ids.into_iter().enumerate() {
        let job = site.client.job(id).await.unwrap().unwrap();
        assert_eq!(job.view.state, State::Completed, "{number}: {job:?}");
        // Who was killed after the commit had no second attempt to do it all again.
        let attempts = match POINTS[number / ALL.len()] {
            Point::Nowhere | Point::AfterCommit => 1,
            Point::BeforeCompletion | Point::BeforeCommit => 2,
        };
        assert_eq!(job.attempts.len(), attempts, "{number}: {job:?}");
    }
}

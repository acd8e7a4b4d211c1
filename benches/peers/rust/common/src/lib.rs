//! What every adapter shares: the command line, the job, the counting of handler calls, and the one line of JSON at the
//! end. `../README.md` says what is measured and why so.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Adapters give up at the first error: a run that failed has no figure.
pub type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// How often a database is asked whether it has stored the end of the last job.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The pause between two jobs of a latency measurement, so that the worker is idle again.
const PAUSE: Duration = Duration::from_millis(4);

/// What the script asks an adapter to do.
pub enum Command {
    /// Make the tables.
    Setup,
    /// Enqueue this many jobs by one client, so many at a time.
    Enqueue { jobs: u64, batch: u64 },
    /// Run this many jobs, which are there already.
    Drain { jobs: u64 },
    /// Enqueue this many jobs, one after another, beside an idle worker.
    Latency { jobs: u64 },
}

/// The URL of the database, and what to do there.
///
/// # Errors
///
/// When `DATABASE_URL` is not set (it is no argument, because those are everybody's to read), or the arguments are none
/// of: `setup`, `enqueue JOBS BATCH`, `drain JOBS`, `latency JOBS`.
pub fn arguments() -> Result<(String, Command)> {
    let url = std::env::var("DATABASE_URL").map_err(|error| format!("DATABASE_URL: {error}"))?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command = match words[..] {
        ["setup"] => Command::Setup,
        ["enqueue", jobs, batch] => Command::Enqueue { jobs: jobs.parse()?, batch: batch.parse()? },
        ["drain", jobs] => Command::Drain { jobs: jobs.parse()? },
        ["latency", jobs] => Command::Latency { jobs: jobs.parse()? },
        _ => return Err("usage: setup | enqueue JOBS BATCH | drain JOBS | latency JOBS".into()),
    };
    Ok((url, command))
}

/// The second field of every job: 80 bytes, which makes about 100 with the rest of `{"id": n, "data": "xx..."}`.
pub fn data() -> String {
    "x".repeat(80)
}

/// The ids of the jobs, in batches.
pub fn batches(jobs: u64, batch: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..jobs)
        .step_by(usize::try_from(batch).expect("a batch fits into memory"))
        .map(move |first| first..jobs.min(first + batch))
}

/// Asks again and again until the database says that it is so.
///
/// # Errors
///
/// When it cannot be asked.
pub async fn until(mut so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    while !so().await? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Prints the time of an enqueue that began at `began`.
pub fn report_enqueue(began: Instant) {
    println!(r#"{{"seconds": {}}}"#, began.elapsed().as_secs_f64());
}

/// The handler calls of a process: handlers call [`Calls::count`], the measurement waits for [`Calls::all`].
pub struct Calls {
    awaited: AtomicU64,
    left: AtomicU64,
    first_last: Mutex<Option<(Instant, Instant)>>,
    done: Notify,
}

/// The one count of this process; a static, because the handlers of most libraries are plain functions.
pub static CALLS: LazyLock<Calls> = LazyLock::new(|| Calls {
    awaited: AtomicU64::new(0),
    left: AtomicU64::new(0),
    first_last: Mutex::new(None),
    done: Notify::new(),
});

impl Calls {
    /// Begins to wait for `jobs` calls.
    pub fn expect(&self, jobs: u64) {
        self.awaited.store(jobs, Ordering::SeqCst);
        self.left.store(jobs, Ordering::SeqCst);
    }

    /// Counts a call: the whole handler. A job that is run again after the last was awaited counts for nothing.
    pub fn count(&self) {
        let Ok(left) = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
        else {
            return;
        };
        let first = left == self.awaited.load(Ordering::SeqCst);
        if !first && left != 1 {
            return;
        }
        let now = Instant::now();
        let mut first_last = self.first_last.lock().expect("no holder panics");
        let began = first_last.filter(|_| !first).map_or(now, |(began, _)| began);
        *first_last = Some((began, now));
        if left == 1 {
            self.done.notify_one();
        }
    }

    /// Waits for the last call, and says when the first and the last were.
    pub async fn all(&self) -> (Instant, Instant) {
        self.done.notified().await;
        self.first_last.lock().expect("no holder panics").expect("the last call has been counted")
    }

    /// Waits for all calls, then until they are `stored`, and prints both times, from the first call on. Start the
    /// worker before, and stop it after, unless stopping it is how its last completions are flushed.
    ///
    /// # Errors
    ///
    /// When `stored` fails.
    pub async fn report_drain(&self, stored: impl Future<Output = Result<()>>) -> Result<()> {
        let (first, last) = self.all().await;
        stored.await?;
        let (handled, stored) = (last - first, first.elapsed());
        println!(r#"{{"handled": {}, "stored": {}}}"#, handled.as_secs_f64(), stored.as_secs_f64());
        Ok(())
    }

    /// Enqueues one job after another, and prints how long it takes from the call of `enqueue` to the handler's first
    /// line. The first tenth warms up and is not counted.
    ///
    /// # Errors
    ///
    /// When `enqueue` fails.
    pub async fn report_latency(
        &self,
        jobs: u64,
        mut enqueue: impl AsyncFnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let mut taken = Vec::new();
        for id in 0..jobs + jobs / 10 {
            self.expect(1);
            let began = Instant::now();
            enqueue(id).await?;
            let (called, _) = self.all().await;
            if id >= jobs / 10 {
                taken.push(called - began);
            }
            tokio::time::sleep(PAUSE).await;
        }
        taken.sort();
        let ms = |percent: usize| taken[(taken.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        println!(r#"{{"p50": {}, "p99": {}, "max": {}}}"#, ms(50), ms(99), ms(100));
        Ok(())
    }
}

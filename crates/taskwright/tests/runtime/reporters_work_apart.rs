//! On the clock of the system, where each reporter has a thread of its own.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright::report::{CommandReporter, Report, Reporter, Reports};
use taskwright::store::SharedStore;
use taskwright::store::memory::MemoryStore;
use taskwright::{Client, Env, Job, MaxAttempts, Registry, TaskError, Worker};

/// Runs jobs that fail for good, each at its first attempt, on one thread.
fn fail(jobs: usize, reports: impl FnOnce(&Env) -> Reports, then: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (env, store) = (Env::system(), Arc::new(MemoryStore::new()) as SharedStore);
        let client = Client::new(Arc::clone(&store), env.clone());
        for n in 0..jobs {
            let once = MaxAttempts::limited(1).unwrap();
            client.enqueue(Job::new("test").args(&n).unwrap().max_attempts(once)).await.unwrap();
        }
        let registry = Registry::new().handler("test", |_| async { Err::<(), _>(TaskError::retry("no")) }).unwrap();
        let reports = reports(&env);
        let worker = Worker::builder(store, registry, env).reports(reports.clone()).until_empty();
        let worker = worker.run(std::future::pending());
        let summary = worker.await.unwrap();
        assert_eq!(summary.failed, jobs as u64);
        then();
        assert!(reports.flush(Duration::from_secs(30)).await);
    });
}

/// Blocks its thread until it is let go on.
struct Blocking {
    go_on: Mutex<Receiver<()>>,
    threads: Sender<Option<String>>,
}

impl Reporter for Blocking {
    async fn failed(&self, _: &Report) {
        self.threads.send(std::thread::current().name().map(str::to_owned)).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
    }
}

#[test]
fn a_reporter_that_blocks_its_thread_holds_up_neither_the_worker_nor_another_reporter() {
    struct Telling(Sender<String>);
    impl Reporter for Telling {
        async fn failed(&self, _: &Report) {}
        async fn gave_up(&self, report: &Report) {
            self.0.send(report.to_string()).unwrap();
        }
    }
    let ((free, go_on), (threads, named), (telling, told)) = (channel(), channel(), channel());
    let blocking = Blocking { go_on: Mutex::new(go_on), threads };
    // The worker ends in its time while the first one blocks: it waits for 5 s, and no longer.
    fail(
        3,
        |env| Reports::new(env).to(blocking).to(Telling(telling)),
        || {
            assert_eq!(told.try_iter().count(), 3);
            assert_eq!(named.try_iter().collect::<Vec<_>>(), [Some("taskwright-reports".to_owned())]);
            (0..3).for_each(|_| free.send(()).unwrap());
        },
    );
}

#[test]
fn a_command_gets_each_report_as_one_line_of_json() {
    let directory = tempfile::tempdir().unwrap();
    let (all, last) = (directory.path().join("all"), directory.path().join("final"));
    let appends = |file: &std::path::Path| {
        let script = format!("cat >> '{}'; echo noise", file.display());
        ["sh".to_owned(), "-c".to_owned(), script]
    };
    let reports = |env: &Env| {
        let every = CommandReporter::new(env, appends(&all)).unwrap();
        let finals = CommandReporter::new(env, appends(&last)).unwrap().only_final();
        // One that fails, and one that is not there, cost nobody anything.
        let broken = CommandReporter::new(env, ["false"]).unwrap();
        let missing = CommandReporter::new(env, ["/no/such/program"]).unwrap();
        Reports::new(env).to(broken).to(every).to(missing).to(finals)
    };
    fail(2, reports, || ());
    for file in [&all, &last] {
        let text = std::fs::read_to_string(file).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines.iter().all(|line| line["final"] == true && line["error"] == "no"), "{text}");
    }
}

#[test]
fn a_command_without_a_program_is_refused() {
    for argv in [vec![], vec![String::new()]] {
        assert!(CommandReporter::new(&Env::system(), argv).is_err_and(|error| error.is_domain()));
    }
}

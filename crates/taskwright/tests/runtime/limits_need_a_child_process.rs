//! Limits that nobody can keep are refused where they are declared.

use std::time::Duration;

use taskwright::{
    Context, Handler, HandlerFuture, IoNice, Kind, Limits, Outcome, Registry, Task, TaskError, TaskOptions,
    task,
};

struct RunsCommands;

impl Handler for RunsCommands {
    fn call(&self, ctx: Context) -> HandlerFuture {
        let limited = ctx.limits().max_rss.is_some();
        Box::pin(async move { Outcome::Completed { result: Some(limited.to_string()) } })
    }

    fn runs_child_processes(&self) -> bool {
        true
    }
}

fn options(limits: Limits) -> TaskOptions {
    TaskOptions { limits, timeout: Some(Duration::from_secs(1)), ..TaskOptions::default() }
}

#[test]
fn a_handler_in_the_workers_own_process_may_have_a_timeout_and_no_other_limit() {
    let run = |_: Context| async { Ok(()) };
    for limits in [
        Limits { max_rss: Some(1 << 30), ..Limits::default() },
        Limits { max_cpu_time: Some(Duration::from_secs(1)), ..Limits::default() },
        Limits { nice: Some(10), ..Limits::default() },
    ] {
        let error = Registry::new().handler_with("report", options(limits), run).unwrap_err();
        assert!(error.is_invalid());
        assert_eq!(error.what(), "the limits of the task report");
        assert!(error.fix().contains("`timeout`"), "{}", error.fix());
    }
    Registry::new().handler_with("report", options(Limits::default()), run).unwrap();
}

#[test]
fn a_handler_that_runs_child_processes_is_told_the_limits_of_its_task() {
    use crate::support::world;
    world(async |world| {
        let limits = Limits { max_rss: Some(1 << 30), ..Limits::default() };
        let registry =
            Registry::new().add(Kind::new("test").unwrap(), options(limits), RunsCommands).unwrap();
        let worker = world.start(world.worker(registry));
        let id = world.enqueue(crate::support::job()).await;
        assert_eq!(world.over(id).await.result.as_deref(), Some("true"));
        worker.stop().await;
    });
}

/// With all of them.
#[task("render", process, max_rss = "512MiB", max_cpu_time = "1m", nice = 10, ionice = IoNice::BestEffort(7))]
async fn render() {}

#[derive(serde::Serialize, serde::Deserialize)]
struct InTheWorker;

impl Task for InTheWorker {
    const KIND: &'static str = "in.the.worker";
    const LIMITS: Limits = Limits { max_rss: Some(1 << 30), ..Limits::NONE };
    type Output = ();

    async fn run(self, _: Context) -> Result<(), TaskError> {
        Ok(())
    }
}

#[test]
fn a_task_says_its_limits_and_has_a_process_that_keeps_them() {
    let said = Limits {
        max_rss: Some(512 << 20),
        max_cpu_time: Some(Duration::from_secs(60)),
        nice: Some(10),
        ionice: Some(IoNice::BestEffort(7)),
    };
    assert_eq!(TaskOptions::of::<Render>().limits, said);
    Registry::new().register::<Render>().unwrap();
    let error = Registry::new().register::<InTheWorker>().unwrap_err();
    assert!(
        error.what() == "the limits of the task in.the.worker" && error.fix().contains("`process`"),
        "{error}"
    );
}

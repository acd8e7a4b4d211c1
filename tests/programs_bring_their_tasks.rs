//! A program with tasks of its own (`examples/four_ways.rs`) is library, worker and command line at once.

#[allow(dead_code, reason = "a program has more in it than a test of it uses")]
#[path = "../crates/server/examples/four_ways.rs"]
mod program;

use std::process::Command;
use std::time::Duration;

use taskwright::State;
use taskwright::testing::simulate;

use self::program::{Line, Total, app};
use crate::support::Site;

/// The program, in the place of the binary.
fn command<const N: usize>(site: &Site, args: [&str; N]) -> Command {
    site.program("four_ways", args)
}

/// Runs the program to its end; its exit code, what it printed, and what it said.
fn run<const N: usize>(site: &Site, args: [&str; N]) -> (i32, String, String) {
    let output = command(site, args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout).trim().to_owned(), text(output.stderr))
}

const PEN: &str = r#"{"lines": [{"item": "a pen", "cents": 100}]}"#;

#[test]
fn a_program_runs_its_own_job_as_a_library() {
    let site = Site::new();
    assert_eq!(run(&site, ["once"]), (0, "2380".to_owned(), String::new()));
    let jobs = site.jobs(&[]);
    assert!(
        jobs.iter().any(|job| job.kind.as_str() == "invoice.total" && job.queue.as_str() == "invoices"),
        "{jobs:?}"
    );
}

#[test]
fn its_verbs_know_its_tasks_and_what_they_say() {
    let site = Site::new();
    let (exit, id, _) = run(&site, ["enqueue", "invoice.total", "--args", PEN]);
    assert_eq!(exit, 0);
    let job = site.ask(async |store| store.job(id.parse().unwrap()).await.unwrap().unwrap());
    assert_eq!((job.view.queue.as_str(), job.view.max_attempts.to_string().as_str()), ("invoices", "3"));

    let (exit, _, said) = run(&site, ["enqueue", "invoice.total", "--args", r#"{"lines": 7}"#]);
    assert!(exit == 2 && said.contains("they do not fit the task"), "{said}");
    let (exit, _, said) = run(&site, ["enqueue", "invoice.totl"]);
    assert!(exit == 2 && said.contains("invoice.total"), "{said}");
    // The binary of Taskwright itself does not have them.
    let other = site.taskwright(["enqueue", "invoice.total"]).output().unwrap();
    assert_eq!(other.status.code(), Some(2));

    let (exit, _, said) = run(&site, ["worker", "--until-empty"]);
    assert!(exit == 0 && said.contains("1 completed"), "{said}");
    let added =
        run(&site, ["schedules", "add", "totals", "--every", "1h", "--task", "invoice.total", "--args", PEN]);
    assert_eq!(added.0, 0, "{added:?}");
    let (_, shown, _) = run(&site, ["schedules", "show", "totals", "--json"]);
    assert!(shown.contains("\"invoices\""), "it has the queue of the task: {shown}");
    let (exit, next, _) = run(&site, ["schedules", "next", "invoice.remind", "-n", "2", "--json"]);
    assert!(exit == 0 && next.lines().count() == 2 && next.contains("\"due\""), "{next}");
}

#[test]
fn up_of_the_program_runs_its_tasks_in_worker_processes() {
    let site = Site::new();
    let up = site.start(&mut command(&site, ["up", "--workers", "1"]));
    let (_, id, _) = run(&site, ["enqueue", "invoice.total", "--args", PEN]);
    let (exit, shown, said) = run(&site, ["jobs", "wait", &id, "--timeout", "30s"]);
    assert_eq!(exit, 0, "{shown}\n{said}");
    let job = site.ask(async |store| store.job(id.parse().unwrap()).await.unwrap().unwrap());
    assert_eq!(job.result.as_deref(), Some("119"));
    let schedules = site.ask(async |store| store.schedules(None, None, 10).await.unwrap());
    assert!(schedules.iter().any(|schedule| schedule.name.as_str() == "invoice.remind"));
    site.wait_until("the log", Duration::from_secs(10), || {
        let log = site.ask(async |store| store.logs(id.parse().unwrap(), 0, 10).await.unwrap());
        log.iter().any(|entry| entry.bytes.starts_with(b"a pen: 100"))
    });

    // A process for one attempt is started by a worker process, whose own number is another.
    let (_, id, _) = run(&site, ["enqueue", "invoice.pdf", "--args", r#"{"invoice": 7}"#]);
    assert_eq!(run(&site, ["jobs", "wait", &id, "--timeout", "30s"]).0, 0);
    let job = site.ask(async |store| store.job(id.parse().unwrap()).await.unwrap().unwrap());
    let process: u32 = job.result.unwrap().parse().unwrap();
    let workers = site.ask(async |store| store.workers().await.unwrap());
    assert!(
        !workers.is_empty() && workers.iter().all(|worker| worker.pid != process),
        "{process}: {workers:?}"
    );
    assert!(up.stop().success());
}

/// CR-X9
#[test]
fn jobs_of_a_task_that_nobody_knows_stay_and_who_starts_is_told() {
    let site = Site::new();
    let (_, stranger, _) = run(&site, ["enqueue", "mail.welcome", "--any-kind"]);
    let up = site.start(&mut command(&site, ["up", "--workers", "1"]));
    up.wait_for_line("warning: jobs wait for the task mail.welcome, which nobody here runs");
    let (_, known, _) = run(&site, ["enqueue", "invoice.total", "--args", PEN]);
    assert_eq!(run(&site, ["jobs", "wait", &known, "--timeout", "30s"]).0, 0, "it is passed by");
    let stranger = site.job(stranger.parse().unwrap());
    assert_eq!((stranger.view.state, stranger.view.attempt), (State::Available, 0));
    assert!(up.stop().success());
    let warning = "warning: jobs wait for the task mail.welcome, which nobody here runs";
    let worker = site.start_until(&mut command(&site, ["worker"]), warning);
    assert!(worker.stop().success());
}

#[test]
fn a_test_owns_the_clock_of_the_program() {
    simulate(1, async |sim| {
        let app = app().store("memory:").env(sim.env());
        let pen = Line { item: "a pen".to_owned(), cents: 100 };
        let job = app.client().await.unwrap().enqueue(Total { lines: vec![pen] }).await.unwrap();
        assert_eq!(app.run_until_empty().await.unwrap().completed, 1);
        assert_eq!(job.output().await.unwrap(), 119);

        let day = sim.env().sleep(Duration::from_secs(24 * 3_600 + 60));
        let run = sim.env().spawn("app", async move { app.run_until(day).await });
        sim.advance(Duration::from_secs(25 * 3_600)).await;
        assert_eq!(run.await.unwrap().unwrap().completed, 24, "a reminder every hour");
    });
}

//! Steps, durable sleeps and `heartbeat` of handlers with `process`: they go by the worker, which has the store and the lease.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use taskwright::{App, Backoff, Context, TaskError, task};

use crate::support::{run_as_program, site};

/// Adds a line to what has happened.
fn note(what: &str) {
    let file = site().unwrap().join("notes");
    let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
    writeln!(file, "{what}").unwrap();
}

/// Dies behind its first step, sleeps longer than anybody stays for, and is called three times in all.
#[task("order", process, backoff = Backoff::Fixed { delay: Duration::from_millis(1) })]
async fn order(ctx: &Context) -> Result<String, TaskError> {
    note("called");
    let charged = ctx.step("charge", || async {
        note("charged");
        Ok(format!("charged in attempt {}", ctx.attempt()))
    });
    let charged = charged.await?;
    if ctx.attempt() == 1 {
        std::process::abort();
    }
    ctx.sleep(Duration::from_millis(1_500)).await?;
    let large = ctx.step("ship", || async { Ok("\"".repeat(500_000)) }).await?;
    Ok(format!("{charged}, {}, owned: {}", large.len(), ctx.heartbeat()))
}

/// Asks for what it cannot have.
#[task("read", process, max_attempts = 1)]
async fn read(ctx: &Context) -> Result<usize, TaskError> {
    Ok(ctx.attachment("rows").await?.map_or(0, |bytes| bytes.len()))
}

#[tokio::test]
#[ignore = "a program, which the other tests start"]
async fn program() {
    if site().is_none() {
        return;
    }
    let app = App::new().store("memory:").task::<Order>().task::<Read>();
    app.serve_attempt().await.unwrap();
    let client = app.client().await.unwrap();
    let told = async {
        let order = client.enqueue(Order).await?;
        assert_eq!(order.output().await?, "charged in attempt 1, 500000, owned: true");
        let kept: Vec<_> =
            client.store().steps(order.id).await?.into_iter().map(|step| step.name.to_string()).collect();
        assert_eq!(kept, ["charge", "sleep/1", "ship"]);

        let read = client.enqueue(Read).await?;
        let error = read.wait().await?.view.error.unwrap();
        assert!(error.contains("a process of its own") && error.contains("no way to the store"), "{error}");
        Ok::<_, taskwright::Error>(())
    };
    app.run_while(told).await.unwrap();
}

fn runs(temp: &Path) {
    let site = tempfile::tempdir().unwrap();
    run_as_program(
        &std::env::current_exe().unwrap(),
        concat!(module_path!(), "::program"),
        site.path(),
        temp,
    );
    let notes = std::fs::read_to_string(site.path().join("notes")).unwrap();
    assert_eq!(notes.lines().collect::<Vec<_>>(), ["called", "charged", "called", "called"]);
}

#[test]
fn a_step_is_done_once_although_the_process_of_its_attempt_died() {
    let temp = tempfile::tempdir().unwrap();
    runs(temp.path());
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn also_where_temporary_files_have_a_longer_path_than_a_socket_may_have() {
    let temp = tempfile::tempdir().unwrap();
    let long = temp.path().join("x".repeat(100));
    std::fs::create_dir(&long).unwrap();
    runs(&long);
}

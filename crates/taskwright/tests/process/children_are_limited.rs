//! Limits of handlers with `process`: one that leaks is ended, and its worker goes on.

use std::time::Duration;

use taskwright::{App, Context, JobHandle, State, TaskError, task};

use crate::support::{run_as_program, site};

const CHUNK_BYTES: usize = 16 << 20;

/// Takes more and more, up to four times what it may.
#[task("leak", process, max_rss = "256MiB", max_attempts = 1)]
async fn leak(ctx: &Context) -> Result<(), TaskError> {
    let mut taken = Vec::new();
    for chunk in 1_u8..=64 {
        taken.push(vec![chunk; CHUNK_BYTES]);
        ctx.pause(Duration::from_millis(20)).await?;
    }
    std::hint::black_box(&taken);
    Ok(())
}

#[task("spin", process, max_cpu_time = "200ms", max_attempts = 1)]
fn spin() -> Result<(), TaskError> {
    loop {
        std::hint::spin_loop();
    }
}

/// How far it stands back: the 19th field of its line (`proc_pid_stat(5)`).
#[task("stand.back", process, nice = 19)]
async fn stand_back() -> Result<String, TaskError> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    Ok(fields.split_whitespace().nth(16).unwrap_or_default().to_owned())
}

#[tokio::test]
#[ignore = "a program, which the other test starts"]
async fn program() {
    if site().is_none() {
        return;
    }
    let app = App::new().store("memory:").task::<Leak>().task::<Spin>().task::<StandBack>();
    app.serve_attempt().await.unwrap();
    let client = app.client().await.unwrap();
    let told = async {
        assert_eq!(client.enqueue(StandBack).await?.output().await?, "19");
        let leak = error(client.enqueue(Leak).await?).await?;
        assert!(leak.starts_with("out of memory (limit 256 MiB, used "), "{leak}");
        let spin = error(client.enqueue(Spin).await?).await?;
        assert!(spin.starts_with("CPU time limit (0.2 s) exceeded"), "{spin}");
        assert_eq!(client.enqueue(StandBack).await?.output().await?, "19", "the worker lives");
        Ok::<_, taskwright::Error>(())
    };
    app.run_while(told).await.unwrap();
}

async fn error<O>(job: JobHandle<O>) -> Result<String, taskwright::Error> {
    let over = job.wait().await?;
    assert_eq!(over.view.state, State::Failed);
    Ok(over.view.error.unwrap_or_default())
}

#[cfg(target_os = "linux")]
#[test]
fn a_handler_that_takes_more_than_it_may_is_ended_and_the_worker_lives() {
    let site = tempfile::tempdir().unwrap();
    run_as_program(
        &std::env::current_exe().unwrap(),
        concat!(module_path!(), "::program"),
        site.path(),
        site.path(),
    );
}

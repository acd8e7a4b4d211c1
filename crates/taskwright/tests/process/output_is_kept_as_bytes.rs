//! Output is whatever the command writes: binary data, lines without an end, two streams, and nobody
//! listening.

use taskwright::process::{Command, Exit, Reports, run};

use crate::support::{drive, finish, hasty_host, host, sh};

#[tokio::test]
async fn binary_output_arrives_unchanged() {
    let all: String = (0..=255).map(|byte| format!("\\{byte:03o}")).collect();
    let finished = finish(&Command::new("printf").args([all])).await;
    assert_eq!(finished.stdout, (0..=255).collect::<Vec<u8>>());
}

#[tokio::test]
async fn a_line_of_a_megabyte_arrives_whole() {
    let mut command = sh("head -c 1000000 /dev/zero | tr '\\0' x; echo");
    command.log_bytes_max = 2_000_000;
    let finished = finish(&command).await;
    assert_eq!(finished.lines().iter().map(|line| line.len()).collect::<Vec<_>>(), [1_000_000]);
}

#[tokio::test]
async fn the_streams_are_told_apart() {
    let finished = finish(&sh("echo out; echo err >&2; echo out")).await;
    assert_eq!((finished.stdout_text(), finished.stderr.as_slice()), ("out\nout\n", b"err\n".as_slice()));
}

#[tokio::test]
async fn output_arrives_while_the_command_runs() {
    let (go, went) = tokio::sync::oneshot::channel();
    let stop = async move { went.await.unwrap() };
    let meanwhile = async |lines: &mut crate::support::Lines| {
        lines.until("early").await;
        go.send(taskwright::process::Stop::Cancelled).unwrap();
    };
    let finished = drive(&sh("echo early; exec sleep 1000"), &host(), stop, meanwhile).await.unwrap();
    assert_eq!(finished.output.exit, Exit::Signal(15));
}

#[tokio::test]
async fn output_that_nobody_takes_is_counted_and_does_not_block_the_command() {
    let (reports, chunks, _) = Reports::channels();
    drop(chunks);
    let command = Command::new("head").args(["-c", "500000", "/dev/zero"]);
    let output = run(&command, &host(), reports, std::future::pending()).await.unwrap();
    assert_eq!((output.exit, output.log_dropped), (Exit::Code(0), 500_000));
}

#[tokio::test]
async fn a_command_whose_output_waits_for_its_reader_can_still_be_stopped() {
    let (reports, chunks, _) = Reports::channels();
    let mut command = Command::new("cat").args(["/dev/zero"]);
    command.log_bytes_max = usize::MAX;
    command.timeout = Some(std::time::Duration::from_secs(10));
    let reading = async {
        // Held, but not read: the channel is full all the time.
        let held = chunks;
        std::future::pending::<()>().await;
        drop(held);
    };
    let host = hasty_host(50);
    tokio::select! {
        output = run(&command, &host, reports, std::future::pending()) => {
            let output = output.unwrap();
            assert_eq!(output.exit, Exit::Signal(15));
            // What was on its way, and no more: the command had to wait.
            assert!((1..1_000_000).contains(&output.log_dropped), "{output:?}");
        }
        () = reading => unreachable!("it never ends"),
    }
}

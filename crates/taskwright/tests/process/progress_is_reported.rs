//! A command tells how far it is by lines on a pipe of its own, from any shell.

use taskwright::process::{Progress, Reports, Stop, run};

use crate::support::{drive, finish, host, sh};

#[tokio::test]
async fn the_newest_line_is_what_counts() {
    let script = "{ echo 1/3; echo nonsense; echo 3/3 all read; } >&$TASKWRIGHT_PROGRESS_FD";
    let finished = finish(&sh(script)).await;
    let message = Some("all read".to_owned());
    assert_eq!(finished.progress, Some(Progress { done: 3, total: Some(3), message }));
}

#[tokio::test]
async fn the_pipe_has_the_same_low_number_whatever_this_process_has_open() {
    // Dash can redirect only to a single digit.
    let mut files: Vec<_> = (0..20).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
    while files.pop().is_some() {
        let finished = finish(&sh("echo $TASKWRIGHT_PROGRESS_FD; echo 1 >&3")).await;
        assert_eq!(finished.lines(), ["3"]);
        assert_eq!(finished.progress.map(|progress| progress.done), Some(1));
    }
}

#[tokio::test]
async fn progress_is_seen_while_the_command_runs() {
    let command = sh("echo 50% half >&$TASKWRIGHT_PROGRESS_FD; exec sleep 1000");
    let (reports, _chunks, mut newest) = Reports::channels();
    let stop = async move {
        let seen = newest.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(seen, Some(Progress { done: 50, total: Some(100), message: Some("half".to_owned()) }));
        Stop::Cancelled
    };
    let output = run(&command, &host(), reports, stop).await.unwrap();
    assert_eq!(output.stopped, Some(Stop::Cancelled));
}

#[tokio::test]
async fn a_flood_of_reports_is_thinned_to_ten_a_second() {
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i/20000; done >&$TASKWRIGHT_PROGRESS_FD";
    let command = sh(script);
    let (reports, _chunks, mut newest) = Reports::channels();
    let host = host();
    let counting = async {
        let mut count = 0;
        while newest.changed().await.is_ok() {
            newest.mark_unchanged();
            count += 1;
        }
        count
    };
    let (output, count) = tokio::join!(run(&command, &host, reports, std::future::pending()), counting);
    let seconds = output.unwrap().wall_us as f64 / 1e6;
    assert!(f64::from(count) <= 10.0 * seconds + 2.0, "{count} reports in {seconds} s");
    assert_eq!(newest.borrow().as_ref().map(|progress| progress.done), Some(20_000));
}

#[tokio::test]
async fn a_command_that_reports_nothing_has_no_progress() {
    let finished = drive(&sh("echo 7/9"), &host(), std::future::pending(), async |_| {}).await.unwrap();
    assert_eq!(finished.progress, None);
}

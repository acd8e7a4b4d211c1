//! How a command ended is told exactly, and in words that a person understands.

use taskwright::process::Exit;

use crate::support::{finish, sh};

#[tokio::test]
async fn every_exit_code_comes_back() {
    for code in [0, 1, 3, 126, 255] {
        let exit = finish(&sh(&format!("exit {code}"))).await.output.exit;
        assert_eq!(exit, Exit::Code(code));
        assert_eq!(exit.is_success(), code == 0);
        assert_eq!(exit.to_string(), format!("exit code {code}"));
    }
}

#[tokio::test]
async fn a_signal_is_told_by_number_and_name() {
    for (name, number, words) in [
        ("KILL", 9, "killed by signal 9 (KILL)"),
        ("SEGV", 11, "killed by signal 11 (SEGV)"),
        ("TERM", 15, "killed by signal 15 (TERM)"),
    ] {
        let exit = finish(&sh(&format!("ulimit -c 0; kill -{name} $$"))).await.output.exit;
        assert_eq!((exit, exit.to_string().as_str()), (Exit::Signal(number), words));
    }
}

#[tokio::test]
async fn a_command_that_nobody_stopped_says_so() {
    let output = finish(&sh("exit 0")).await.output;
    assert_eq!((output.stopped, output.log_dropped, output.survivors), (None, 0, Vec::new()));
}

//! Standard input is what was given, then its end; a command that does not read it hangs nobody.

use taskwright::process::{Command, Exit};

use crate::support::{finish, sh};

/// More than a pipe holds, so that writing must go on while output is read.
const MUCH: usize = 3 * 1024 * 1024;

fn pattern() -> Vec<u8> {
    (0..MUCH).map(|index| (index % 251) as u8).collect()
}

#[tokio::test]
async fn a_command_that_echoes_much_input_gets_and_gives_all_of_it() {
    let mut cat = Command::new("cat");
    cat.stdin = pattern();
    cat.log_bytes_max = 2 * MUCH;
    let finished = finish(&cat).await;
    assert!(finished.stdout == cat.stdin, "{} of {MUCH} bytes came back", finished.stdout.len());
}

#[tokio::test]
async fn a_command_that_reads_only_a_little_is_not_disturbed() {
    let mut head = Command::new("head").args(["-c", "3"]);
    head.stdin = pattern();
    let finished = finish(&head).await;
    assert_eq!(finished.stdout, [0, 1, 2]);
    assert_eq!(finished.output.exit, Exit::Code(0));
}

#[tokio::test]
async fn a_command_that_closes_its_input_goes_on_undisturbed() {
    let mut command = sh("exec <&-; echo done");
    command.stdin = pattern();
    let finished = finish(&command).await;
    assert_eq!((finished.stdout_text(), finished.output.exit), ("done\n", Exit::Code(0)));
}

#[tokio::test]
async fn without_input_the_end_of_the_file_comes_at_once() {
    let finished = finish(&Command::new("cat")).await;
    assert_eq!((finished.stdout_text(), finished.output.exit), ("", Exit::Code(0)));
}

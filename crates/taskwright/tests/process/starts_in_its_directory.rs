//! A command starts in the directory that was asked for, and a relative program is found there.

use taskwright::process::Command;

use crate::support::{finish, sh};

#[tokio::test]
async fn a_command_starts_where_it_was_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut pwd = Command::new("pwd").args(["-P"]);
    pwd.cwd = Some(directory.path().to_owned());
    let real = directory.path().canonicalize().unwrap();
    assert_eq!(finish(&pwd).await.lines(), [real.to_str().unwrap()]);
}

#[tokio::test]
async fn without_a_directory_it_starts_in_ours() {
    let own = std::env::current_dir().unwrap();
    assert_eq!(finish(&Command::new("pwd").args(["-P"])).await.lines(), [own.to_str().unwrap()]);
}

#[tokio::test]
async fn a_program_with_a_relative_path_is_looked_for_in_the_directory_of_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let mut make = sh("mkdir bin; printf '#!/bin/sh\\necho found' > bin/tool; chmod +x bin/tool");
    make.cwd = Some(directory.path().to_owned());
    finish(&make).await;
    let mut tool = Command::new("bin/tool");
    tool.cwd = Some(directory.path().to_owned());
    assert_eq!(finish(&tool).await.lines(), ["found"]);
}

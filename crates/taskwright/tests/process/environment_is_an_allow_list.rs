//! S22. S22: a command sees the variables that were allowed and given, and no others.

use std::collections::BTreeMap;

use taskwright::process::Command;

use crate::support::{Finished, finish};

fn variables(finished: &Finished) -> BTreeMap<String, String> {
    let entries = finished.stdout_text().split_terminator('\0');
    entries.filter_map(|entry| entry.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

fn env() -> Command {
    Command::new("env").args(["-0"])
}

#[tokio::test]
async fn what_is_not_on_the_list_is_kept_from_the_command() {
    // Cargo sets this one for every test.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let seen = variables(&finish(&env()).await);
    assert!(!seen.contains_key("CARGO_MANIFEST_DIR"), "{seen:?}");
    assert_eq!(seen.get("PATH").cloned(), std::env::var("PATH").ok());
}

#[tokio::test]
async fn the_list_can_be_widened_by_name_and_by_prefix() {
    for pattern in ["CARGO_MANIFEST_DIR", "CARGO_*"] {
        let mut command = env();
        command.env_pass.push(pattern.to_owned());
        assert!(variables(&finish(&command).await).contains_key("CARGO_MANIFEST_DIR"), "{pattern}");
    }
}

#[tokio::test]
async fn given_variables_win_and_keep_their_exact_value() {
    let mut command = env();
    command.env.insert("HOME".into(), "/nowhere".into());
    command.env.insert("ODD".into(), " a=b\n$(x) ".into());
    command.env.insert("EMPTY".into(), "".into());
    let seen = variables(&finish(&command).await);
    assert_eq!(seen["HOME"], "/nowhere");
    assert_eq!(seen["ODD"], " a=b\n$(x) ");
    assert_eq!(seen["EMPTY"], "");
}

#[tokio::test]
async fn the_tag_and_the_progress_pipe_are_there_and_nothing_else_is_added() {
    let mut command = env();
    command.program = "/usr/bin/env".into();
    command.env_pass.clear();
    command.tag = Some(("ATTEMPT".to_owned(), "7".to_owned()));
    let seen = variables(&finish(&command).await);
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["ATTEMPT", "TASKWRIGHT_PROGRESS_FD"]);
    assert_eq!(seen["ATTEMPT"], "7");
}

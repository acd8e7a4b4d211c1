//! `migrate --check` says whether there is work to do, and does none of it.

use std::path::Path;
use std::process::{Command, Output};

fn taskwright(directory: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskwright"));
    command.args(args).current_dir(directory).env_remove("TASKWRIGHT_STORE").output().unwrap()
}

/// Every file with its bytes, so that no change goes unseen.
fn everything(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(everything(&path)),
            false => all.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
    all.sort();
    all
}

#[test]
fn a_missing_store_is_told_and_stays_missing() {
    let directory = tempfile::tempdir().unwrap();
    let ran = taskwright(directory.path(), &["migrate", "--check"]);
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_store_of_this_version_is_fine_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    assert!(taskwright(directory.path(), &["migrate"]).status.success());
    let before = everything(directory.path());
    let version = taskwright_store::sqlite::SCHEMA_VERSION;
    let plain = format!("sqlite:.taskwright/taskwright.db  schema {version}  up to date\n");
    let json = format!("{{\"schema\":{version},\"url\":\"sqlite:.taskwright/taskwright.db\"}}\n");
    for (args, said) in [(&["migrate", "--check"][..], plain), (&["migrate", "--check", "--json"], json)] {
        let ran = taskwright(directory.path(), args);
        assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(String::from_utf8(ran.stdout).unwrap(), said);
    }
    assert_eq!(everything(directory.path()), before);
}

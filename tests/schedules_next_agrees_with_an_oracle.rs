//! What `schedules next` prints is what somebody else's reading of the same expressions gives.

use std::process::Command;

use serde_json::Value;

use crate::oracle::{EXPRESSIONS, occurrences};

const FROM: &str = "2027-12-30T22:58:31Z";
const TIMES: usize = 100;

#[test]
fn schedules_next_agrees_with_an_oracle() {
    let directory = tempfile::tempdir().unwrap();
    for expression in EXPRESSIONS {
        let mut next = Command::new(env!("CARGO_BIN_EXE_taskwright"));
        next.current_dir(directory.path()).args(["schedules", "next", "--cron", expression, "--from", FROM]);
        let output = next.args(["--json", "-n", &TIMES.to_string()]).output().unwrap();
        assert!(output.status.success(), "{expression}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let due =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["due"].as_str().unwrap().to_owned();
        let expected: Vec<String> =
            occurrences(expression, FROM.parse().unwrap()).take(TIMES).map(|at| at.to_string()).collect();
        assert_eq!(text.lines().map(due).collect::<Vec<_>>(), expected, "{expression}");
    }
}

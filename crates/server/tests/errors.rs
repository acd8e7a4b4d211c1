//! Every error that can be provoked says what, why and what to do; the golden file shows all of them.
//!
//! A case runs the real binary in a directory of its own. To add one, add a line to `errors/cases.rs`, run the test
//! with `INSTA_UPDATE=always`, and read what it says as somebody would who meets it at 3 am.

#[path = "errors/cases.rs"]
mod cases;

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use cases::Case;

/// What one run left behind.
struct Ran {
    exit: i32,
    out: String,
    err: String,
}

#[test]
fn every_error_says_what_why_and_what_to_do() {
    let mut golden = String::new();
    let cases = cases::all();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    for case in &cases {
        let directory = tempfile::tempdir().unwrap();
        let ran = run(case, directory.path());
        check(case, &ran);
        writeln!(golden, "## {} [exit {}]\n$ {}\n{}", case.name, ran.exit, case.shown(), ran.err).unwrap();
    }
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("errors", golden);
    });
}

#[test]
fn errors_are_json_when_json_was_asked_for() {
    for (args, exit) in [
        ("--json jobs list --state complted", 2),
        ("--json jobs show 01890000-0000-7000-8000-000000000000", 1),
        ("--json nonsense", 2),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let case = Case::new("json", exit, args).after("migrate");
        let ran = run(&case, directory.path());
        assert_eq!(ran.exit, exit, "{}", ran.err);
        let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
        for field in ["what", "why", "fix"] {
            assert!(error["error"][field].is_string(), "{}", ran.err);
        }
    }
}

/// What must hold for every error, whatever it says.
fn check(case: &Case, ran: &Ran) {
    let name = case.name;
    assert_eq!(ran.exit, case.exit, "{name}: {}", ran.err);
    let (whys, fixes) = (ran.err.matches("\n  why: ").count(), ran.err.matches("\n  fix: ").count());
    let errors = ran.err.lines().filter(|line| line.starts_with("error: ")).count();
    assert!(errors > 0 && whys == errors && fixes == errors, "{name}: {}", ran.err);
    for raw in ["os error", "panicked", "Error {", "Os {", "kind: ", "\u{1b}", "ErrorKind", "RUST_BACKTRACE"]
    {
        assert!(!ran.err.contains(raw), "{name} shows {raw:?}: {}", ran.err);
    }
    for line in ran.err.lines() {
        assert!(!line.ends_with(": ") && !line.ends_with("why:"), "{name} says nothing: {}", ran.err);
    }
}

fn run(case: &Case, directory: &Path) -> Ran {
    for (file, text) in &case.files {
        std::fs::write(directory.join(file), text).unwrap();
    }
    let mut id = String::new();
    for setup in &case.setup {
        let ran = taskwright(directory, &words(&setup.replace("$ID", &id)), &[], false);
        assert_eq!(ran.exit, 0, "{}: {setup}: {}", case.name, ran.err);
        id = ran.out.lines().last().unwrap_or_default().to_owned();
    }
    if let Some(prepare) = case.prepare {
        prepare(directory);
    }
    let ran = taskwright(directory, &words(&case.args.replace("$ID", &id)), &case.input, case.full);
    // macOS and some distributions give a temporary directory by a link.
    let whole = directory.canonicalize().unwrap();
    let mut err = ran.err;
    for path in [whole.to_str().unwrap(), directory.to_str().unwrap()] {
        err = err.replace(path, "DIR");
    }
    if !id.is_empty() {
        err = err.replace(&id, "$ID");
    }
    Ran { err, ..ran }
}

fn taskwright(directory: &Path, args: &[String], input: &[u8], full: bool) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskwright"));
    command.args(args).current_dir(directory).env_clear().env("USER", "tester");
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    command.stdout(match full {
        true => Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap()),
        false => Stdio::piped(),
    });
    let mut child = command.spawn().unwrap();
    // A command that fails early does not read what it is given.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Ran {
        exit: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Splits a command as a shell would, as far as the cases go: spaces and single quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut started) = (String::new(), false, false);
    for c in text.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                started = true;
            }
            ' ' if !quoted => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            c => {
                word.push(c);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}

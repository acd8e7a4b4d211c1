//! Every error that can be provoked says what, why and what to do; the golden file shows all of them.
//!
//! A case runs the real binary in a directory of its own. To add one, add a line to `errors/cases.rs`, run the test
//! with `INSTA_UPDATE=always`, and read what it says as somebody would who meets it at 3 am.

#[path = "errors/cases.rs"]
mod cases;
#[cfg(feature = "postgres")]
#[path = "../../../tests/support/cluster.rs"]
mod cluster;
#[cfg(feature = "postgres")]
#[path = "errors/databases.rs"]
mod databases;
#[path = "../../../tests/support/disk.rs"]
mod disk;
#[path = "errors/identities.rs"]
mod identities;
#[path = "errors/schedules.rs"]
mod schedules;
#[path = "errors/webhooks.rs"]
mod webhooks;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use cases::Case;
use disk::Disk;
use taskwright::store::sqlite::rusqlite::Connection;

/// What one run left behind.
struct Ran {
    exit: i32,
    out: String,
    err: String,
}

#[test]
fn every_error_says_what_why_and_what_to_do() {
    let cases = cases::all();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let golden: String = cases.iter().map(told).collect();
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("errors", golden);
    });
}

#[test]
fn every_error_of_a_schedule_says_what_why_and_what_to_do() {
    let golden: String = schedules::cases().iter().map(told).collect();
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("errors_of_schedules", golden);
    });
}

#[test]
fn every_error_about_principals_says_what_why_and_what_to_do() {
    let golden: String = identities::cases().iter().map(told).collect();
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("errors_of_identities", golden);
    });
}

#[test]
fn every_error_of_a_webhook_says_what_why_and_what_to_do() {
    let golden: String = webhooks::cases().iter().map(told).collect();
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("errors_of_webhooks", golden);
    });
}

#[test]
fn every_error_of_a_disk_says_what_why_and_what_to_do_and_leaves_nothing_half_written() {
    if !disk::may_mount("every_error_of_a_disk_says_what_why_and_what_to_do_and_leaves_nothing_half_written")
    {
        return;
    }
    let golden: String = cases::on_disks().iter().map(told).collect();
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("errors_of_disks", golden);
    });
}

#[cfg(feature = "postgres")]
#[test]
fn every_error_of_a_database_says_what_why_and_what_to_do_and_no_password() {
    let server = databases::Server::new();
    let golden: String = server.cases().iter().map(|case| server.nameless(&told(case))).collect();
    assert!(!golden.contains(databases::PASSWORD), "{golden}");
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("errors_of_databases", golden);
    });
}

#[test]
fn a_job_whose_command_cannot_be_run_says_what_why_and_what_to_do() {
    let mut golden = String::new();
    for case in cases::commands_of_jobs() {
        let directory = tempfile::tempdir().unwrap();
        let ran = run(&case, directory.path());
        assert_eq!(ran.exit, 0, "{}: {}", case.name, ran.err);
        let worked = taskwright(directory.path(), &words("worker --until-empty"), &case);
        assert_eq!(worked.exit, 0, "{}: {}", case.name, worked.err);
        let shown = taskwright(directory.path(), &words(&format!("jobs show --json {}", ran.out)), &case);
        let job: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
        let error = without_path(job["error"].as_str().unwrap(), directory.path());
        assert!(!error.contains("os error") && error.contains("; "), "{}: {error}", case.name);
        writeln!(golden, "## {} [{}]\n$ {}\n{error}\n", case.name, job["state"], case.shown()).unwrap();
    }
    insta::with_settings!({ prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("errors_of_commands", golden);
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

#[test]
fn what_lies_behind_an_error_is_told_to_whoever_wants_to_know() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("letter"), "This is no database. ".repeat(100)).unwrap();
    let said = |args| run(&Case::new("letter", 1, args), directory.path()).err;
    assert!(!said("--store sqlite:letter jobs list").contains("source"));
    let verbose = said("--verbose --store sqlite:letter jobs list");
    assert!(verbose.contains("\n  source: file is not a database"), "{verbose}");
    let json = said("--verbose --json --store sqlite:letter jobs list");
    let error: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert!(error["error"]["sources"][0].is_string(), "{json}");
}

/// Runs a case, checks what it says, and gives it for the golden file.
fn told(case: &Case) -> String {
    let directory = tempfile::tempdir().unwrap();
    let ran = run(case, directory.path());
    check(case, &ran);
    format!("## {} [exit {}]\n$ {}\n{}\n", case.name, ran.exit, case.shown(), ran.err)
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
    let disk = case.disk.map(|(options, trouble)| (Disk::mount(directory, options), trouble));
    for (file, text) in &case.files {
        std::fs::write(directory.join(file), text).unwrap();
    }
    let mut ids = BTreeSet::new();
    let mut id = String::new();
    let plain = Case::new(case.name, 0, "");
    for setup in &case.setup {
        let ran = taskwright(directory, &words(&setup.replace("$ID", &id)), &plain);
        assert_eq!(ran.exit, 0, "{}: {setup}: {}", case.name, ran.err);
        id = ran.out.lines().last().unwrap_or_default().to_owned();
        ids.extend(ids_of(&ran.out));
    }
    if let Some(prepare) = case.prepare {
        prepare(directory);
    }
    if let Some((disk, trouble)) = &disk {
        trouble(disk);
    }
    let ran = taskwright(directory, &words(&case.args.replace("$ID", &id)), case);
    let mut err = without_path(&ran.err, directory);
    if !id.is_empty() {
        err = err.replace(&id, "$ID");
    }
    if let Some((disk, _)) = &disk {
        disk.free();
        ids.extend(ids_of(&ran.out));
        check_that_nothing_is_half_written(case, directory, &ids);
        err = without_counts(&err);
    }
    if case.unprivileged {
        // So that it can be removed.
        cases::open_to(&directory.join(".taskwright"), 0o700);
        cases::open_to(directory, 0o700);
    }
    Ran { err, ..ran }
}

/// The store opens, is sound, and has the jobs whose ids have been printed, and no others.
fn check_that_nothing_is_half_written(case: &Case, directory: &Path, printed: &BTreeSet<String>) {
    const BATCH_JOBS: usize = 4_000;
    let plain = Case::new(case.name, 0, "");
    let opened = taskwright(directory, &words("migrate"), &plain);
    assert_eq!(opened.exit, 0, "{}: {}", case.name, opened.err);
    let conn = Connection::open(directory.join(".taskwright/taskwright.db")).unwrap();
    let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok", "{}", case.name);
    let listed = taskwright(directory, &words("jobs list --limit all --json"), &plain);
    assert_eq!(ids_of(&listed.out), *printed, "{}", case.name);
    if case.args.contains("--from-file") {
        assert!(!printed.is_empty() && printed.len().is_multiple_of(BATCH_JOBS), "{} jobs", printed.len());
    }
}

/// The ids in what a command printed, bare or in JSON.
fn ids_of(out: &str) -> BTreeSet<String> {
    let id = |line: &str| match serde_json::from_str::<serde_json::Value>(line) {
        Ok(job) => job["id"].as_str().map(str::to_owned),
        Err(_) => line.parse().ok().map(|id: taskwright::JobId| id.to_string()),
    };
    out.lines().filter_map(id).collect()
}

fn without_path(text: &str, directory: &Path) -> String {
    // macOS and some distributions give a temporary directory by a link.
    let whole = directory.canonicalize().unwrap();
    text.replace(whole.to_str().unwrap(), "DIR").replace(directory.to_str().unwrap(), "DIR")
}

/// How much fits on a disk is not ours to say.
fn without_counts(text: &str) -> String {
    let thousands = |word: &str| word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    let word = |word| if thousands(word) { "N" } else { word };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn taskwright(directory: &Path, args: &[String], case: &Case) -> Ran {
    let mut command = match case.unprivileged {
        true => as_a_reader(directory),
        false => Command::new(env!("CARGO_BIN_EXE_taskwright")),
    };
    command
        .args(args)
        .current_dir(directory)
        .env_clear()
        .env("USER", "tester")
        .env("TASKWRIGHT_LISTEN", "none")
        .env("PATH", "/usr/bin:/bin");
    if let Some(url) = &case.store {
        command.env("TASKWRIGHT_STORE", url).env("TASKWRIGHT_RUN_DIR", "run");
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if case.full {
        command.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap());
    }
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A command that fails early does not read what it is given.
        scope.spawn(move || stdin.write_all(&case.input));
        child.wait_with_output().unwrap()
    });
    Ran {
        exit: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The binary, run by a user who may read the directory and not write it.
fn as_a_reader(directory: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        cases::open_to(directory, 0o555);
        return Command::new(env!("CARGO_BIN_EXE_taskwright"));
    }
    cases::open_to(directory, 0o755);
    // The folder that it was built in need not be open to others.
    let binary = directory.join("binary");
    std::fs::copy(env!("CARGO_BIN_EXE_taskwright"), &binary).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(binary);
    command
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

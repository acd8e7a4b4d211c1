//! Handlers with `process`: what they do to their process is one failed attempt, and the worker goes on
//! (`examples/in_child.rs`).

use std::path::PathBuf;
use std::process::Command;

/// The program, which is built with the tests unless only some of these are.
fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples/in_child");
    assert!(
        program.exists(),
        "{} is missing: `cargo build -p taskwright --examples` makes it",
        program.display()
    );
    program
}

#[test]
fn each_way_to_end_is_told_and_the_worker_survives_all_of_them() {
    let site = tempfile::tempdir().unwrap();
    let run = Command::new(program())
        .arg(site.path().join("jobs.db"))
        .env("TMPDIR", site.path())
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}\n{err}");
    let line = |start: &str| {
        let found = out.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start}: {out}\n{err}")).to_owned()
    };
    assert_eq!(line("add: "), r#"add: completed "\"3 apples\"""#);
    let worker = line("worker ").replace("worker ", "process ");
    assert!(!line("  process ").contains(&worker), "it is another process: {out}");
    assert_eq!(line("  to standard"), "  to standard output");

    let abort = line("abort: ");
    assert!(
        abort.starts_with("abort: failed")
            && abort.contains("its process crashed: killed by signal 6 (ABRT)"),
        "{abort}"
    );
    assert!(abort.contains("the last words"), "{abort}");
    let exit = line("exit: ");
    assert!(exit.starts_with("exit: failed") && exit.contains("its process crashed: exit code 3"), "{exit}");
    let panic = line("panic: ");
    assert!(panic.starts_with("panic: failed \"panicked at ") && panic.contains("too hot"), "{panic}");
    let reported = line("reported: ");
    assert!(reported.starts_with("reported: too hot at ") && reported.contains("in_child.rs:"), "{reported}");
    assert_eq!(line("error: "), "error: failed \"not at all\"");

    assert!(line("polite: ").starts_with("polite: cancelled"), "{out}");
    assert!(line("rude: ").starts_with("rude: cancelled"), "{out}");
    let slow = line("slow: ");
    assert!(slow.starts_with("slow: failed \"timed out"), "{slow}");

    let left: Vec<_> =
        std::fs::read_dir(site.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("taskwright-child-")), "{left:?}");
}

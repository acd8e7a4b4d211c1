//! Data for programs is plain and whole; a terminal gets what fits it, and nothing that it would obey.

use taskwright::State;
use taskwright::store::LogStream;
use taskwright_core::attempt::Outcome;
use taskwright_server::Exit;

use crate::cli::{Cli, Closed, Shared};

const LISTS_OF_SCHEDULES: [&str; 4] =
    ["schedules list", "schedules next tick -n 12", "schedules history tick", "events list"];

/// Every command that prints, on a store that has something of everything.
fn full_of(cli: &Cli) -> Vec<String> {
    for state in [State::Failed, State::Completed, State::Retryable, State::Cancelled, State::Scheduled] {
        cli.job_in(state);
    }
    let id = cli.job_in(State::Failed);
    let commands =
        ["jobs list", "jobs show --limit all --state failed,completed", "queues list", "workers list"];
    let mut commands: Vec<String> = commands.map(str::to_owned).to_vec();
    let long = "a-schedule-with-a-name-as-long-as-people-make-them";
    let set_up: [&[&str]; 4] = [
        &[
            "schedules",
            "add",
            "tick",
            "--every",
            "1m",
            "--daily",
            "08:00",
            "--event",
            "a.*",
            "--any-kind",
            "--task",
            "t",
        ],
        &["schedules", "add", long, "--cron", "5,7,9-30/2 8,9,17-19 L 1-3 *", "--any-kind", "--task", "t"],
        &["schedules", "fire", "tick"],
        &["events", "emit", "a.b", "--payload", "{\"a\": \"\u{202e}\"}"],
    ];
    for command in set_up {
        let ran = cli.run_words(command);
        assert_eq!(ran.exit, Exit::Ok, "{command:?}: {}", ran.err);
    }
    commands.extend(LISTS_OF_SCHEDULES.map(str::to_owned));
    commands.extend(["schedules show tick", "schedules --help", "schedules add --help"].map(str::to_owned));
    commands.extend(["jobs history", "jobs stats", "jobs stats --by queue", "jobs top"].map(str::to_owned));
    commands.extend([format!("jobs logs {id}"), format!("jobs wait {id}"), format!("jobs watch {id}")]);
    commands
        .extend(["config show", "doctor", "completions bash", "--help", "jobs --help"].map(str::to_owned));
    commands
}

#[test]
fn a_pipe_gets_no_escape_from_any_command() {
    let cli = Cli::new();
    for command in full_of(&cli) {
        let ran = cli.run(&command);
        assert!(
            !ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'),
            "{command}: {}{}",
            ran.out,
            ran.err
        );
        assert!(!ran.out.is_empty() || command.contains("logs"), "{command} prints nothing");
    }
}

#[test]
fn json_is_one_object_a_line_from_every_command() {
    let cli = Cli::new();
    for command in
        full_of(&cli).iter().filter(|command| !command.contains("--help") && !command.contains("compl"))
    {
        let ran = cli.run(&format!("--json {command}"));
        for line in ran.out.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(value.is_object(), "{command}: {line}");
        }
    }
}

#[test]
fn no_line_of_a_table_is_wider_than_the_terminal() {
    for width in [60, 80, 100, 160] {
        let cli = Cli::new().seen(width);
        full_of(&cli);
        let lists = ["jobs list", "jobs history", "jobs stats", "jobs top", "queues list", "workers list"];
        for command in lists.into_iter().chain(LISTS_OF_SCHEDULES) {
            for line in cli.run(&format!("--color never {command}")).out.lines() {
                assert!(line.chars().count() <= usize::from(width), "{width} {command}: {line}");
            }
        }
    }
}

#[test]
fn a_terminal_sees_ids_whole_and_states_in_colour() {
    let cli = Cli::new().seen(50);
    let id = cli.job_in(State::Failed);
    let out = cli.run("--color always jobs list").out;
    assert!(out.contains(&id.to_string()) && out.contains("\u{1b}[38;5;1mfailed"), "{out:?}");
    assert!(!cli.run("--color never jobs list").out.contains('\u{1b}'));
}

/// S11.
#[test]
fn foreign_text_cannot_command_the_terminal() {
    let cli = Cli::new().seen(160);
    let id = cli.job_in(State::Failed);
    for command in ["jobs list".to_owned(), format!("jobs show {id}"), "workers list".to_owned()] {
        let out = cli.run(&format!("--color never {command}")).out;
        assert!(out.contains("^[[31m") && !out.contains('\u{1b}'), "{out:?}");
    }
    cli.run_words(&["events", "emit", "a", "--payload", "{\"turned\": \"\u{202e}\"}"]);
    let out = cli.run("--color never events list").out;
    assert!(out.contains("\\u{202e}") && !out.contains('\u{202e}'), "{out:?}");
}

#[test]
fn a_terminal_shows_the_newest_jobs_and_says_that_there_are_more() {
    let cli = Cli::new().seen(80);
    for _ in 0..60 {
        cli.job("probe");
    }
    let ran = cli.run("jobs list");
    assert_eq!(ran.out.lines().count(), 51);
    assert!(ran.err.starts_with("50 jobs shown, there are more"), "{}", ran.err);
    assert_eq!(Cli::lines(&cli.run("jobs list --limit all")), 61);
    assert_eq!(Cli::lines(&cli.run("jobs list --limit 60")), 61);
}

/// S11.
#[test]
fn logs_are_raw_in_a_pipe_and_harmless_on_a_terminal() {
    let bytes = b"\x1b[31mred\xff\xc3\xa4\n\x07".as_slice();
    let write = |cli: &Cli| {
        let id = cli.job("probe");
        let job = cli.claim();
        // The last character comes in two pieces.
        cli.log(&job, LogStream::Stdout, &bytes[..10]);
        cli.log(&job, LogStream::Stdout, &bytes[10..]);
        cli.log(&job, LogStream::Stderr, b"oops\r\n");
        cli.finish(&job, Outcome::Completed { result: None });
        id.to_string()
    };
    let cli = Cli::new();
    let id = write(&cli);
    let out = Shared::default();
    cli.run_into(&["jobs", "logs", &id], Box::new(out.clone()), Box::new(Shared::default()));
    assert_eq!(out.bytes(), [bytes, b"oops\r\n"].concat());
    assert_eq!(cli.run(&format!("jobs logs {id} --stream stderr")).out, "oops\r\n");
    let json = cli.run(&format!("jobs logs {id} --json --stream stderr --follow")).out;
    assert!(json.contains(r#""stream":"stderr","text":"oops\r\n"}"#), "{json}");

    let cli = Cli::new().seen(80);
    let id = write(&cli);
    assert_eq!(cli.run(&format!("jobs logs {id}")).out, "^[[31mred\u{fffd}ä\n^Goops\n");
}

#[test]
fn a_closed_pipe_ends_a_listing_quietly() {
    let cli = Cli::new();
    cli.job("probe");
    let err = Shared::default();
    let exit = cli.run_into(&["jobs", "list"], Box::new(Closed), Box::new(err.clone()));
    assert_eq!((exit, err.text().as_str()), (Exit::Ok, ""));
}

#[test]
fn progress_is_shown_while_a_job_runs() {
    let cli = Cli::new();
    cli.job("probe");
    let job = cli.claim();
    cli.progress(&job, 2, 5, "resizing\u{1b}[2J");
    let out = cli.run("jobs list").out;
    assert!(out.contains("40% (2 of 5) resizing^[[2J"), "{out}");
}

#[test]
fn quiet_says_nothing_but_data_and_errors() {
    let cli = Cli::new();
    let ran = cli.run("-q jobs list");
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("", ""));
    assert!(!cli.run("-q jobs list --state x").err.is_empty());
}

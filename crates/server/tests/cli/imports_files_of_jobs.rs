//! `enqueue --from-file` prints an id for each job that the store has acknowledged, and for no other.

use taskwright_server::Exit;

use crate::cli::{Cli, Closed, Ran, Shared};

fn import(cli: &mut Cli, lines: &str, flags: &str) -> Ran {
    cli.input(lines);
    cli.run(&format!("enqueue --from-file - {flags}"))
}

fn count(cli: &Cli) -> usize {
    cli.run("jobs list --json").out.lines().count()
}

#[test]
fn every_line_becomes_a_job_and_blank_ones_do_not() {
    let mut cli = Cli::new();
    let lines = "{\"kind\": \"a\"}\n\n  \r\n".repeat(2_500);
    let ran = import(&mut cli, &lines, "--any-kind");
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    assert_eq!((ran.out.lines().count(), count(&cli)), (2_500, 2_500));
    assert_eq!(ran.err, "2500 jobs stored\n");
}

#[test]
fn fields_beat_flags() {
    let mut cli = Cli::new();
    let lines = r#"{"args": 1}
{"kind": "b", "queue": "x", "priority": "idle", "max_attempts": "none", "owner": "zoe", "unique": "k", "timeout": 90}
"#;
    let ran = import(&mut cli, lines, "a --any-kind --queue y --priority 7");
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let listed = cli.run("jobs list --json --oldest-first").out;
    let jobs: Vec<serde_json::Value> =
        listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&jobs[0]["kind"], &jobs[0]["queue"], &jobs[0]["priority"]),
        (&"a".into(), &"y".into(), &7.into())
    );
    assert_eq!((&jobs[1]["kind"], &jobs[1]["queue"]), (&"b".into(), &"x".into()));
    assert_eq!((&jobs[1]["priority"], &jobs[1]["max_attempts"]), (&4000.into(), &"none".into()));
}

#[test]
fn a_bad_line_stops_the_import_behind_the_good_ones() {
    let mut cli = Cli::new();
    let lines = format!("{}{{\"kind\": 7}}\n{}", "{\"kind\": \"a\"}\n".repeat(1_500), "{\"kind\": \"a\"}\n");
    let ran = import(&mut cli, &lines, "--any-kind");
    assert_eq!(ran.exit, Exit::Operational);
    assert_eq!((ran.out.lines().count(), count(&cli)), (1_500, 1_500));
    assert!(ran.err.starts_with("1500 jobs stored\nerror: standard input:1501:"), "{}", ran.err);
}

#[test]
fn bad_lines_can_be_skipped_and_each_is_told() {
    let mut cli = Cli::new();
    let long = format!("{{\"kind\": \"a\", \"args\": \"{}\"}}", "x".repeat(4 << 20));
    let lines = format!("nonsense\n{{\"kind\": \"a\"}}\n{long}\n{{\"kind\": \"a\"}}\n{{\"knd\": 1}}\n");
    let ran = import(&mut cli, &lines, "--any-kind --skip-bad");
    assert_eq!(ran.exit, Exit::Operational, "{}", ran.err);
    assert_eq!((ran.out.lines().count(), count(&cli)), (2, 2));
    let warned: Vec<&str> = ran.err.lines().filter(|line| line.starts_with("warning: ")).collect();
    let places = ["input:1:", "input:3:", "input:5:"];
    assert!(warned.iter().zip(places).all(|(line, place)| line.contains(place)), "{warned:?}");
    assert!(ran.err.ends_with("2 jobs stored, 3 bad lines skipped\n"), "{}", ran.err);
}

#[test]
fn a_line_with_an_id_is_stored_once() {
    let mut cli = Cli::new();
    let line = "{\"kind\": \"a\", \"id\": \"01890000-0000-7000-8000-000000000000\"}\n";
    import(&mut cli, line, "--any-kind");
    let ran = import(&mut cli, line, "--any-kind");
    assert_eq!((ran.exit, count(&cli)), (Exit::Ok, 1));
    assert_eq!(ran.err, "0 jobs stored, 1 there already\n");
}

#[test]
fn an_import_whose_ids_nobody_reads_stops_and_says_how_far_it_came() {
    let mut cli = Cli::new();
    cli.input("{\"kind\": \"a\"}\n".repeat(20_000));
    let err = Shared::default();
    let args = ["enqueue", "--from-file", "-", "--any-kind"];
    let exit = cli.run_into(&args, Box::new(Closed), Box::new(err.clone()));
    assert_eq!(exit, Exit::Operational);
    assert!(err.text().contains("the reader of the output is gone"), "{}", err.text());
    assert!(count(&cli) < 20_000);
}

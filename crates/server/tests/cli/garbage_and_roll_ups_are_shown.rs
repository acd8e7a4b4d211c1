//! Collectors are listed, set and run, and roll-ups are told span by span.

use taskwright::State;
use taskwright::generator::GeneratorSet;
use taskwright_server::Exit;

use crate::cli::Cli;

fn parsed(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_sort_is_listed_with_how_long_it_is_kept() {
    let cli = Cli::new();
    cli.job("probe");
    let ran = cli.run("gc list");
    assert_eq!((ran.exit, ran.out.lines().count()), (Exit::Ok, 14), "{}{}", ran.out, ran.err);
    let listed = parsed(&cli.run("gc list --json").out);
    assert_eq!((listed.len(), &listed[0]["what"]), (13, &"completed".into()));
    assert_eq!((&listed[0]["keep_s"], &listed[0]["status"]), (&604_800.into(), &"unknown".into()));
    cli.do_duties(GeneratorSet::new());
    let ran = cli.run("gc list --json");
    assert!(parsed(&ran.out).iter().all(|line| line["status"] == "on"), "{}", ran.out);
    let ran = cli.run("generators list");
    assert!(ran.out.contains("gc:completed") && ran.out.contains("rollup"), "{}", ran.out);
}

#[test]
fn a_retention_is_set_for_ever_and_back_and_too_short_ones_are_refused() {
    let cli = Cli::new();
    cli.job("probe");
    assert_eq!(cli.run("gc set failed completed --keep 3d").out, "failed  kept 3 d\ncompleted  kept 3 d\n");
    assert!(cli.run("gc show failed").out.contains("3 d, set here"));
    assert_eq!(cli.run("gc set failed --forever").out, "failed  kept for ever\n");
    assert_eq!(cli.run("gc set failed --default").out, "failed  kept 30 d\n");
    let ran = cli.run("gc set completed hours --keep 1h");
    assert_eq!(ran.exit, Exit::Usage, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("roll-ups per hour") && ran.err.contains("1d"), "{}", ran.err);
    assert!(cli.run("gc show completed").out.contains("3 d, set here"), "all or none");
    for wrong in
        ["gc set failed", "gc set failed --keep 1d --forever", "gc set --keep 1d", "gc run", "gc show jobs"]
    {
        assert_eq!(cli.run(wrong).exit, Exit::Usage, "{wrong}");
    }
}

#[test]
fn what_is_old_enough_goes_when_it_is_run_and_stays_in_a_dry_run() {
    let cli = Cli::new();
    let id = cli.job_in(State::Completed);
    let waiting = cli.job("probe");
    cli.run("gc set completed --keep 0s");
    let would = &parsed(&cli.run("gc run completed --dry-run --json").out)[0];
    assert_eq!((&would["would_go"], &would["jobs"][0]), (&1.into(), &id.to_string().into()));
    assert_eq!(cli.run("gc run completed --dry-run").out, "completed  1 would go\n");
    assert_eq!(cli.state(id), Some(State::Completed));
    assert_eq!(cli.run("gc run completed failed").out, "completed  1 removed\nfailed  0 removed\n");
    assert_eq!((cli.state(id), cli.state(waiting)), (None, Some(State::Available)));
    cli.run("generators pause gc:completed");
    let ran = cli.run("gc run completed");
    assert_eq!(ran.exit, Exit::Operational);
    assert!(ran.err.contains("generators resume gc:completed"), "{}", ran.err);
}

#[test]
fn roll_ups_are_told_by_span_and_by_what_they_are_about() {
    let cli = Cli::new();
    for state in [State::Completed, State::Completed, State::Failed, State::Cancelled] {
        cli.job_in(state);
    }
    let ran = cli.run("stats");
    assert_eq!(
        (ran.exit, ran.out.as_str(), ran.err.as_str()),
        (Exit::Ok, "", "nothing is rolled up that matches\n")
    );
    cli.do_duties(GeneratorSet::new());
    for every in ["minute", "hour"] {
        // A minute may end in between.
        let lines = parsed(&cli.run(&format!("stats --every {every} --by kind --json")).out);
        let sum = |key: &str| lines.iter().map(|line| line[key].as_u64().unwrap()).sum::<u64>();
        assert_eq!(sum("executions"), 4);
        assert!(lines.iter().all(|line| line["kind"] == "probe" && line["every"] == every));
    }
    let line = &parsed(&cli.run("stats --every hour --by queue --json").out)[0];
    assert_eq!((&line["queue"], &line["outcomes"]["failed"]), (&"default".into(), &1.into()));
    assert_eq!(line["run"]["count"], 4);
    let out = cli.run("stats --every hour").out;
    assert!(out.contains("66.6 %") && out.contains("WAIT P95"), "{out}");
    assert_eq!(cli.run("stats --kind nothing").out, "");
    assert_eq!(cli.run("stats --since 1h --until 2h").exit, Exit::Usage);
}

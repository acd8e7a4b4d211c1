//! Verbs that change jobs need a selector, tell done or skipped with the reason for each job, and ask above 20.
//! Scenarios of `worker cancel|retry|delay|priority` (PH 3.1.2).

use taskwright::State;
use taskwright_server::Exit;

use crate::cli::Cli;

#[test]
fn each_job_is_told_in_the_order_of_the_ids() {
    let cli = Cli::new();
    let (running, done) = (cli.job_in(State::Running), cli.job_in(State::Completed));
    let waiting = cli.job_in(State::Available);
    let ran = cli.run(&format!("jobs cancel {done} {waiting} {running}"));
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    assert_eq!(
        ran.out,
        format!(
            "{done}  skipped    it is completed\n{waiting}  done\n\
             {running}  requested  it ends when its handler does\n"
        )
    );
    assert_eq!(ran.err, "1 done, 1 requested, 1 skipped\n");
    assert_eq!(cli.state(waiting), Some(State::Cancelled));
}

#[test]
fn unknown_ids_are_an_error_and_the_others_are_changed() {
    let cli = Cli::new();
    let id = cli.job_in(State::Available);
    let ran = cli.run(&format!("jobs cancel 01890000-0000-7000-8000-000000000000 {id}"));
    assert_eq!(ran.exit, Exit::Operational);
    assert_eq!(cli.state(id), Some(State::Cancelled));
}

#[test]
fn nothing_that_matches_is_no_error() {
    let cli = Cli::new();
    cli.job("probe");
    for verb in [
        "cancel",
        "retry",
        "run-now",
        "awaken",
        "release",
        "delay --in 1h",
        "reprioritise --to bulk",
        "delete",
    ] {
        let ran = cli.run(&format!("jobs {verb} --kind nothing"));
        assert_eq!((ran.exit, ran.err.as_str()), (Exit::Ok, "no job matches\n"), "{verb}");
        assert_eq!(cli.run(&format!("jobs {verb}")).exit, Exit::Usage, "{verb}");
    }
}

/// PH-X7.
#[test]
fn ph_x7_a_completed_job_runs_again_only_with_repeat() {
    let cli = Cli::new();
    let (done, failed) = (cli.job_in(State::Completed), cli.job_in(State::Failed));
    let ran = cli.run(&format!("jobs retry {done} {failed}"));
    assert!(ran.out.starts_with(&format!("{done}  skipped")), "{}", ran.out);
    assert_eq!((cli.state(done), cli.state(failed)), (Some(State::Completed), Some(State::Available)));
    cli.run(&format!("jobs retry {done} --repeat"));
    assert_eq!(cli.state(done), Some(State::Available));
    // The same id, as if it had never failed, with all its attempts.
    let again = cli.claim();
    assert!([done, failed].contains(&again.id), "{again:?}");
    let skipped = cli.run(&format!("jobs retry {} --repeat", again.id));
    assert_eq!(skipped.out, format!("{}  skipped    it is running\n", again.id));
}

/// PH-X8.
#[test]
fn ph_x8_what_selects_nothing_or_contradicts_itself_is_a_usage_error() {
    let cli = Cli::new();
    let id = cli.job("probe");
    let verbs = [
        "cancel",
        "retry",
        "run-now",
        "release",
        "delay --in 1h",
        "reprioritise --to bulk",
        "free",
        "delete",
    ];
    for verb in verbs {
        for selectors in [
            "",
            "--limit 3",
            "--active --archived",
            "--min-failures 3 --max-failures 2",
            "--min-priority bulk --max-priority high",
            "--after 1h --before 2h",
        ] {
            let ran = cli.run(&format!("jobs {verb} {selectors}"));
            assert_eq!(ran.exit, Exit::Usage, "{verb} {selectors}: {}{}", ran.out, ran.err);
        }
    }
    assert_eq!(cli.state(id), Some(State::Available));
}

#[test]
fn ids_that_turn_out_to_be_none_never_widen_to_all_jobs() {
    let mut cli = Cli::new();
    let id = cli.job("probe");
    cli.input("\n\n");
    for verb in
        ["cancel -", "cancel - --kind probe", "delete --id -", "show -", "wait - --timeout 0s", "list -"]
    {
        let ran = cli.run(&format!("jobs {verb}"));
        assert_eq!(ran.out, "", "{verb}: {}", ran.err);
    }
    assert_eq!(cli.state(id), Some(State::Available));
    let other = cli.job("probe");
    cli.input(format!("{id}\n"));
    let ran = cli.run("jobs cancel -");
    assert_eq!((ran.exit, ran.out), (Exit::Ok, format!("{id}  done\n")));
    assert_eq!(cli.state(other), Some(State::Available), "only what was read");
}

#[test]
fn priority_and_failures_select_jobs() {
    let cli = Cli::new();
    let failed = cli.job_in(State::Retryable);
    let fresh = cli.job("probe");
    let ran = cli.run("jobs list --min-failures 1");
    assert!(ran.out.contains(&failed.to_string()) && !ran.out.contains(&fresh.to_string()), "{}", ran.out);
    cli.run(&format!("jobs reprioritise {fresh} --to bulk"));
    let ran = cli.run("jobs cancel --min-priority bulk --active");
    assert_eq!(ran.out, format!("{fresh}  done\n"));
    let ran = cli.run("jobs delete --archived");
    assert_eq!(ran.out, format!("{fresh}  done\n"));
}

#[test]
fn a_freed_job_is_available_and_its_attempt_is_stale() {
    let cli = Cli::new();
    let waiting = cli.job("probe");
    let held = cli.claim();
    let running = held.id;
    assert_eq!(running, waiting);
    let waiting = cli.job("probe");
    let ran = cli.run(&format!("jobs free {running} {waiting} --reason hangs --actor zoe"));
    assert_eq!(ran.out, format!("{running}  done\n{waiting}  skipped    it is available\n"));
    assert!(ran.err.contains("may run twice"), "{}", ran.err);
    assert_eq!(cli.state(running), Some(State::Available));
    cli.finish(&held, taskwright_core::Outcome::Completed { result: None });
    assert_eq!(cli.state(running), Some(State::Available), "it is refused");
    assert!(cli.run(&format!("jobs show {running}")).out.contains("freed by zoe: hangs"));
}

#[test]
fn time_and_priority_of_a_waiting_job_can_be_changed() {
    let cli = Cli::new();
    let id = cli.job("probe");
    assert_eq!(cli.run(&format!("jobs delay {id} --in 2h")).exit, Exit::Ok);
    assert_eq!(cli.state(id), Some(State::Scheduled));
    assert_eq!(cli.run(&format!("jobs run-now {id}")).exit, Exit::Ok);
    assert_eq!(cli.state(id), Some(State::Available));
    let ran = cli.run(&format!("jobs reprioritise {id} --to -7"));
    assert!(ran.out.ends_with("done\n"), "{}{}", ran.out, ran.err);
    assert!(cli.run(&format!("jobs list {id} --json")).out.contains("\"priority\":-7"));
}

#[test]
fn a_held_job_waits_for_its_release() {
    let cli = Cli::new();
    let id = cli.run("enqueue probe --any-kind --hold").out.trim().to_owned();
    assert!(cli.run(&format!("jobs show {id}")).out.contains(&format!("taskwright jobs release {id}")));
    assert!(cli.run(&format!("jobs release {id}")).out.ends_with("done\n"));
    assert_eq!(cli.state(id.parse().unwrap()), Some(State::Available));
}

#[test]
fn what_is_over_can_be_deleted_and_is_gone() {
    let cli = Cli::new();
    let id = cli.job_in(State::Completed);
    assert!(cli.run(&format!("jobs delete {id}")).out.ends_with("done\n"));
    assert_eq!(cli.state(id), None);
}

#[test]
fn more_than_twenty_jobs_need_a_yes() {
    let many = |cli: &Cli| {
        for _ in 0..21 {
            cli.job("probe");
        }
    };
    let cli = Cli::new();
    many(&cli);
    assert_eq!(cli.run("jobs cancel --kind probe").exit, Exit::Usage);
    assert_eq!(cli.run("jobs cancel --kind probe --limit 20").exit, Exit::Ok);
    assert_eq!(cli.run("jobs cancel --kind probe --yes").exit, Exit::Ok);
    let state = |cli: &Cli, state: &str| cli.run(&format!("jobs list --state {state}")).out.lines().count();
    assert_eq!(state(&cli, "cancelled"), 22, "a header and 21 jobs");

    for (answer, exit) in [("y\n", Exit::Ok), ("n\n", Exit::Usage), ("", Exit::Usage)] {
        let cli = Cli::new().asked(answer);
        many(&cli);
        let ran = cli.run("jobs cancel --kind probe");
        assert_eq!(ran.exit, exit, "{answer:?}: {}", ran.err);
        assert!(ran.err.starts_with("cancel 21 jobs? [y/N] "), "{}", ran.err);
    }
}

#[test]
fn what_was_claimed_since_it_was_selected_as_waiting_is_left_alone() {
    let cli = Cli::new().asked("y\n");
    let jobs: Vec<_> = (0..21).map(|_| cli.job("probe")).collect();
    let ran = cli.run_while_one_is_claimed("jobs cancel --state available");
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    assert!(ran.err.contains("20 done, 1 skipped"), "{}", ran.err);
    assert!(ran.out.contains("skipped    it is no longer where it was seen"), "{}", ran.out);
    let runs: Vec<_> = jobs.iter().filter(|id| cli.state(**id) == Some(State::Running)).collect();
    assert_eq!(runs.len(), 1);
    let shown = cli.run(&format!("jobs show {} --json", runs[0])).out;
    assert!(shown.contains("\"cancel_requested\":false"), "{shown}");
}

#[test]
fn what_was_claimed_since_and_is_selected_still_is_changed() {
    let cli = Cli::new().asked("y\n");
    for _ in 0..21 {
        cli.job("probe");
    }
    let ran = cli.run_while_one_is_claimed("jobs cancel --active");
    assert!(ran.err.contains("20 done, 1 requested"), "{}", ran.err);
}

#[test]
fn actor_and_reason_stand_in_the_timeline() {
    let cli = Cli::new();
    let id = cli.job("probe");
    let id = id.to_string();
    cli.run_words(&["jobs", "cancel", &id, "--reason", "wrong input", "--actor", "zoe"]);
    let shown = cli.run(&format!("jobs show {id}")).out;
    let entry = shown.lines().find(|line| line.contains("zoe")).unwrap_or_else(|| panic!("{shown}"));
    assert!(entry.contains("cancelled") && entry.ends_with("wrong input"), "{entry}");
}

#[test]
fn a_job_of_another_namespace_looks_unknown() {
    let cli = Cli::new();
    let id = cli.job("probe");
    for verb in ["show", "wait --timeout 0s", "cancel", "logs"] {
        let ran = cli.run(&format!("--namespace other jobs {verb} {id}"));
        assert_eq!(ran.exit, Exit::Operational, "{verb}: {}{}", ran.out, ran.err);
    }
    assert_eq!(cli.state(id), Some(State::Available));
}

#[test]
fn changes_are_narrowed_as_listings_are() {
    let cli = Cli::new();
    let enqueue = |flags: &str| cli.run(&format!("enqueue probe --any-kind {flags}")).out.trim().to_owned();
    let (ours, theirs) = (enqueue(r#"--args {"to":{"id":1}}"#), enqueue(r#"--args {"to":{"id":2}}"#));
    let (in_a, in_b) = (enqueue("--namespace a"), enqueue("--namespace b"));
    let told = |words: &str| {
        let ran = cli.run(words);
        assert_eq!(ran.exit, Exit::Ok, "{words}: {}", ran.err);
        ran.out
    };
    assert_eq!(told("jobs cancel --args to.id=1"), format!("{ours}  done\n"));
    assert_eq!(told("jobs retry --cancel-requested yes --ended-after 1h"), format!("{ours}  done\n"));
    assert_eq!(told("jobs retry --cancel-requested yes"), "", "run once more, it was not asked for");
    assert_eq!(told("jobs cancel --host nowhere --kind probe"), "");
    let both = told("jobs cancel --namespace a --namespace b --kind probe");
    assert_eq!(both, format!("{in_a}  done\n{in_b}  done\n"));
    let listed = told("jobs list --namespace b --namespace default --state available --json");
    assert!(listed.contains(&ours) && listed.contains(&theirs) && !listed.contains(&in_a), "{listed}");
    // An id of another namespace than those that are named looks unknown.
    let ran = cli.run(&format!("jobs cancel {ours} --namespace a --namespace b"));
    assert_eq!((ran.exit, ran.out.contains("unknown")), (Exit::Operational, true), "{}", ran.out);
    // Several namespaces select nothing by themselves, and other verbs take one.
    for words in ["jobs cancel", "jobs wait", "jobs history", "queues list", "enqueue probe"] {
        let ran = cli.run(&format!("{words} --namespace a --namespace b"));
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::Usage, ""), "{words}: {}", ran.err);
    }
}

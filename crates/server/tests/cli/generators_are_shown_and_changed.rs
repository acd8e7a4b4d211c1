//! Generators are listed, shown, paused, resumed, notified and removed, and their dead letters are found, run again or dropped.

use taskwright::core::generator::Definition;
use taskwright::generator::{Generator, GeneratorSet, Item, Next, Poll, PollError, Polled};
use taskwright::{MaxAttempts, Priority};
use taskwright_core::attempt::Outcome;
use taskwright_server::Exit;

use crate::cli::Cli;

/// Gives two items at first, and then an error that would turn the text of a terminal.
struct Hooks;

impl Generator for Hooks {
    fn name(&self) -> &'static str {
        "webhooks"
    }

    fn options(&self, defaults: Definition) -> Definition {
        Definition { best: Priority::HIGH, window: 3, errors_max: 1, ..defaults }
    }

    async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
        if !poll.state.is_null() {
            return Err("the feed\u{202e} is away".into());
        }
        let item = || Item::new("probe").max_attempts(MaxAttempts::from_code(1));
        Ok(Polled::new(vec![item(), item()], 7, Next::Notified))
    }
}

/// A store in which `webhooks` has made two items, of which one has failed and the other one runs.
fn with_items() -> Cli {
    let cli = Cli::new();
    ask(&cli);
    let (fails, _runs) = (cli.claim(), cli.claim());
    cli.finish(&fails, Outcome::Fail { error: "410 Gone".to_owned() });
    cli
}

fn ask(cli: &Cli) {
    cli.do_duties(GeneratorSet::new().with(Hooks).unwrap());
}

fn parsed(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_list_tells_how_each_goes() {
    let cli = with_items();
    let ran = cli.run("generators list");
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    assert!(ran.out.contains("webhooks") && ran.out.contains("2/3"), "{}", ran.out);
    let listed = &parsed(&cli.run("generators list --json").out)[0];
    let facts =
        ["name", "status", "outstanding", "made", "completed", "next_poll"].map(|key| listed[key].clone());
    assert_eq!(
        facts,
        ["webhooks".into(), "on".into(), 2.into(), 2.into(), 0.into(), serde_json::Value::Null]
    );
    assert_eq!(cli.run("--namespace other generators list").out, "");
}

#[test]
fn one_is_shown_with_its_state() {
    let cli = with_items();
    let out = cli.run("generators show webhooks").out;
    for part in [
        "webhooks  on",
        "when it is notified",
        "2 of 3 at most",
        "2 in 1 polls",
        "high to bulk",
        "generator:webhooks",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let shown = &parsed(&cli.run("generators show webhooks --json").out)[0];
    assert_eq!((&shown["state"], &shown["priorities"]), (&7.into(), &serde_json::json!([1500, 3000])));
    assert_eq!(shown["idle_ms"], serde_json::json!([1_000, 300_000]));
}

#[test]
fn a_pause_lasts_until_a_resume_and_each_name_is_told() {
    let cli = with_items();
    let ran = cli.run_words(&[
        "generators",
        "pause",
        "webhooks",
        "nothing",
        "--reason",
        "too loud",
        "--actor",
        "alice",
    ]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Operational, "webhooks  paused\n"));
    assert!(ran.err.contains("the generator nothing"), "{}", ran.err);
    assert_eq!(cli.run("generators pause webhooks").out, "webhooks  skipped  it is paused already\n");
    let shown = cli.run("generators show webhooks").out;
    assert!(shown.contains("by alice: too loud"), "{shown}");
    let ran = cli.run("generators poll webhooks");
    assert_eq!((ran.out.as_str(), ran.err.contains("once it is resumed")), ("webhooks  notified\n", true));
    assert_eq!(cli.run("generators resume webhooks").out, "webhooks  resumed\n");
    let again = &parsed(&cli.run("generators resume webhooks --json").out)[0];
    assert_eq!(*again, serde_json::json!({"name": "webhooks", "paused": false, "changed": false}));
}

#[test]
fn a_misspelt_name_is_guessed() {
    let ran = with_items().run("generators show webhoks");
    assert_eq!(ran.exit, Exit::Operational);
    assert!(ran.err.contains("write `webhooks`"), "{}", ran.err);
}

#[test]
fn who_is_polled_and_fails_tells_so_and_turns_no_text() {
    let cli = with_items();
    assert_eq!(cli.run("generators poll webhooks").exit, Exit::Ok);
    ask(&cli);
    for verb in ["list", "show webhooks"] {
        let out = cli.run(&format!("generators {verb}")).out;
        assert!(out.contains("paused") && out.contains("is away"), "{out}");
        assert!(!out.contains('\u{202e}'), "{out}");
    }
    assert_eq!(parsed(&cli.run("generators list --json").out)[0]["failed"], 1, "it was settled before that");
}

#[test]
fn dead_letters_are_listed_and_are_jobs() {
    let cli = with_items();
    let ran = cli.run("generators dead webhooks --json");
    let letters = parsed(&ran.out);
    assert_eq!((letters.len(), &letters[0]["error"]), (1, &"410 Gone".into()));
    let out = cli.run("generators dead webhooks").out;
    assert!(out.contains("410 Gone") && out.contains(letters[0]["id"].as_str().unwrap()), "{out}");
    let ran = cli.run("jobs retry --queue generator:webhooks --state failed");
    assert!(ran.out.ends_with("done\n"), "{}{}", ran.out, ran.err);
    let ran = cli.run("generators dead webhooks");
    assert_eq!(
        (ran.exit, ran.out.as_str(), ran.err.as_str()),
        (Exit::Ok, "", "no dead letters of webhooks\n")
    );
}

#[test]
fn dead_letters_are_run_again_or_dropped_by_the_name_of_their_generator() {
    let cli = with_items();
    // Two others of names that are alike: patterns ignore case, and without a namespace all are looked at.
    for (namespace, queue) in [("default", "generator:Webhooks"), ("other", "generator:webhooks")] {
        let ran = cli.run(&format!("--namespace {namespace} enqueue probe --any-kind --queue {queue}"));
        assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
        let claimed = cli.claim();
        cli.finish(&claimed, Outcome::Fail { error: "410 Gone".to_owned() });
    }
    let failed =
        || cli.run("jobs list --state failed").out.lines().filter(|line| line.contains("410")).count();
    assert_eq!(failed(), 3);
    let ran = cli.run("generators dead webhooks --retry");
    assert!(ran.out.ends_with("done\n") && ran.out.lines().count() == 1, "{}{}", ran.out, ran.err);
    assert_eq!(failed(), 2);
    let claimed = cli.claim();
    cli.finish(&claimed, Outcome::Fail { error: "410 Gone".to_owned() });
    let ran = cli.run("generators dead webhooks --drop --reason stale --json");
    assert_eq!(parsed(&ran.out)[0]["result"], "done", "{}", ran.err);
    assert_eq!(failed(), 2, "those of the others stay");
    let ran = cli.run("generators dead webhooks --drop");
    assert_eq!((ran.exit, ran.err.as_str()), (Exit::Ok, "no dead letters of webhooks\n"));
    for wrong in ["--retry --drop", "--yes", "--reason why"] {
        assert_eq!(cli.run(&format!("generators dead webhooks {wrong}")).exit, Exit::Usage, "{wrong}");
    }
}

#[test]
fn an_item_is_shown_with_its_generator_and_its_key() {
    struct One;
    impl Generator for One {
        fn name(&self) -> &'static str {
            "feed"
        }

        async fn poll(&self, _: Poll) -> Result<Polled, PollError> {
            Ok(Polled::new(vec![Item::new("probe").key("event 7")], 1, Next::Notified))
        }
    }
    let cli = Cli::new();
    cli.do_duties(GeneratorSet::new().with(One).unwrap());
    let listed = &parsed(&cli.run("jobs list --json").out)[0];
    assert_eq!((&listed["generator"], &listed["item_key"]), (&"feed".into(), &"event 7".into()));
    let shown = cli.run(&format!("jobs show {}", listed["id"].as_str().unwrap())).out;
    assert!(shown.contains("event 7 of the generator feed"), "{shown}");
    let plain = cli.job("probe");
    let shown = &parsed(&cli.run(&format!("jobs show {plain} --json")).out)[0];
    assert_eq!(
        (&shown["generator"], &shown["item_key"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
}

#[test]
fn one_that_nobody_brings_any_more_is_removed_once_that_is_confirmed() {
    let cli = with_items();
    let ran = cli.run("generators remove webhooks");
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("pass --yes"), "{}", ran.err);
    let ran = with_items().asked("n\n").run("generators remove webhooks");
    assert_eq!(ran.exit, Exit::Usage);
    assert!(
        ran.err.contains("remove webhooks, and forget how far they have come? 2 jobs of theirs stay."),
        "{}",
        ran.err
    );
    let ran = with_items().asked("y\n").run("generators remove webhooks");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "webhooks  removed\n"), "{}", ran.err);
    let ran = cli.run("generators remove webhooks nothing --yes --json");
    assert_eq!(ran.exit, Exit::Operational, "one of them is unknown");
    let told = serde_json::json!({"name": "webhooks", "removed": true, "items_left": 2});
    assert_eq!(parsed(&ran.out)[0], told);
    assert_eq!(cli.run("generators show webhooks").exit, Exit::Operational);
    assert_eq!(
        cli.run("jobs list --queue generator:webhooks --json").out.lines().count(),
        2,
        "its jobs stay"
    );
}

#[test]
fn what_something_else_takes_care_of_is_not_removed_and_the_way_is_told() {
    let cli = with_items();
    for (name, way) in [
        ("gc:completed", "generators pause gc:completed"),
        ("rollup", "generators pause rollup"),
        ("webhook:crm", "webhooks remove crm"),
        ("bulk:count:1", "bulk cancel"),
    ] {
        let ran = cli.run(&format!("generators remove webhooks {name} --yes"));
        assert_eq!(ran.exit, Exit::Usage, "{name}");
        assert!(ran.err.contains(way), "{name}: {}", ran.err);
    }
    assert_eq!(cli.run("generators show webhooks").exit, Exit::Ok, "nothing was removed");
}

#[test]
fn doctor_tells_of_generators_that_are_due_for_long_and_nobody_takes() {
    let cli = with_items();
    assert!(cli.run("doctor").out.contains("1 generator, none left alone"), "{}", cli.run("doctor").out);
    cli.register_generator("old-feed", std::time::Duration::from_secs(600));
    let out = cli.run("doctor").out;
    assert!(out.contains("nobody takes them: old-feed") && out.contains("generators remove NAME"), "{out}");
}

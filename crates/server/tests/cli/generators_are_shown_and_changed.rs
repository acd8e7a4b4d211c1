//! Generators are listed, shown, paused, resumed and notified, and their dead letters are found.

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

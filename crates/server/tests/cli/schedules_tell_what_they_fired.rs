//! What a schedule has fired is found by its time, however much it has fired since, and is not told with words that came later.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use taskwright::generator::GeneratorSet;
use taskwright_core::attempt::Outcome;
use taskwright_core::trigger::{TriggerRule, TriggerState};
use taskwright_core::{Error, Timestamp};
use taskwright_server::{App, Exit};

use crate::cli::Cli;

fn add(cli: &Cli, flags: &str) {
    let ran = cli.run(&format!("schedules add s --task probe --any-kind --overlap allow {flags}"));
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
}

#[test]
fn jobs_of_an_earlier_window_are_found_behind_a_thousand_later_ones() {
    let cli = Cli::new();
    add(&cli, "--every 1h");
    cli.fire("s", 5);
    for _ in 0..5 {
        cli.finish(&cli.claim(), Outcome::Completed { result: None });
    }
    let of = |window: &str| cli.run(&format!("jobs history --schedule s --json {window}"));
    let all = of("");
    assert_eq!((Cli::lines(&all), all.err.as_str()), (5, ""));
    let newest: Value = serde_json::from_str(all.out.lines().next().unwrap()).unwrap();
    let ended_at = newest["ended_at"].as_str().unwrap();

    cli.fire("s", 1_001);
    let then = of(&format!("--until {ended_at}"));
    assert_eq!((then.exit, then.out, then.err.as_str()), (Exit::Ok, all.out, ""));
    let now = of("--since 1h");
    assert_eq!(Cli::lines(&now), 0);
    assert!(now.err.contains("s has made more than 1000 jobs in this window"), "{}", now.err);
}

#[test]
fn what_fired_before_an_edit_is_not_told_with_the_trigger_of_after_it() {
    let cli = Cli::new();
    add(&cli, "--after 1ms");
    let history = || cli.run("schedules history s --json").out;
    while history().is_empty() {
        cli.do_duties(GeneratorSet::new());
    }
    let when = |n: usize| -> Value {
        serde_json::from_str::<Value>(history().lines().nth(n).unwrap()).unwrap()["when"].clone()
    };
    assert!(when(0).is_string(), "{}", history());
    add(&cli, "--every 1h");
    assert_eq!(when(0), Value::Null);
    let seen = cli.run("schedules history s").out;
    assert!(seen.contains("after, changed since"), "{seen}");
}

#[test]
fn a_trigger_that_only_another_program_knows_is_not_called_over() {
    let cli = Cli::new();
    cli.put_foreign_schedule("theirs");
    let next = cli.run("schedules next theirs");
    assert!(next.err.contains("known to the program that brings its trigger"), "{}", next.err);
}

/// A rule of a program's own: an hour after the last time.
struct Hourly;

impl TriggerRule for Hourly {
    fn next(&self, state: &TriggerState, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        Ok(Some(state.last_due.unwrap_or(now).plus(Duration::from_secs(3_600))))
    }
}

#[test]
fn the_program_that_brings_a_trigger_tells_when_it_fires_next() {
    let app = App::new().with_trigger("theirs".parse().unwrap(), |_| Ok(Arc::new(Hourly)));
    let cli = Cli::new().of_app(app);
    cli.put_foreign_schedule("theirs");
    let next = cli.run("schedules next theirs -n 3 --json");
    assert_eq!((next.exit, Cli::lines(&next)), (Exit::Ok, 3), "{}", next.err);
    let listed: Value = serde_json::from_str(&cli.run("schedules list --json").out).unwrap();
    assert!(listed["next"].is_string(), "{listed}");
}

#[test]
fn the_history_is_asked_by_time() {
    let cli = Cli::new();
    add(&cli, "--every 1h");
    cli.fire("s", 3);
    let of = |window: &str| cli.run(&format!("schedules history s --json {window}"));
    let all = of("");
    let at = |n: usize| -> String {
        let line: Value = serde_json::from_str(all.out.lines().nth(n).unwrap()).unwrap();
        line["at"].as_str().unwrap().to_owned()
    };
    cli.fire("s", 2);
    assert_eq!(of(&format!("--until {}", at(0))).out, all.out, "what came later is left out");
    assert_eq!(Cli::lines(&of(&format!("--since {}", at(0)))), 3, "the bounds belong to it");
    assert_eq!(Cli::lines(&of(&format!("--since {} --until {} -n 1", at(2), at(1)))), 1);
    let none = of("--until 1h");
    assert_eq!((none.out.as_str(), none.err.contains("nothing in that time")), ("", true), "{}", none.err);
    assert_eq!(of("--since 1h --until 2h").exit, Exit::Usage);
}

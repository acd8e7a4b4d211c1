//! A schedule is added, looked at, paused, resumed, fired and removed from the command line, and an event that is emitted there
//! reaches its task.

use std::time::Duration;

use serde_json::Value;
use taskwright::{JobId, State};

use crate::support::Site;

const LIMIT: Duration = Duration::from_secs(60);

fn objects<const N: usize>(site: &Site, args: [&str; N]) -> Vec<Value> {
    site.run(args).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn shown(site: &Site, name: &str) -> Value {
    objects(site, ["schedules", "show", name, "--json"]).remove(0)
}

/// Exit code and messages of a command that does not do what was asked.
fn refused<const N: usize>(site: &Site, args: [&str; N]) -> (i32, String) {
    let output = site.taskwright(args).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_schedule_goes_from_add_to_remove() {
    a_schedule_goes_from_add_to_remove_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn a_schedule_goes_from_add_to_remove_on_postgresql() {
    a_schedule_goes_from_add_to_remove_on(&Site::on_postgres());
}

fn a_schedule_goes_from_add_to_remove_on(site: &Site) {
    let add = |time: &str| {
        let zone = ["--timezone", "europe/berlin"];
        let flags = ["schedules", "add", "report", "--daily", time, zone[0], zone[1], "--queue", "reports"];
        let mut command = site.taskwright(flags);
        let output = command.args(["--", "echo", "{due}", "{previous_due}", "{schedule}"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(add("08:00"), "report  registered  every day at 08:00 Europe/Berlin\n");
    assert_eq!(add("08:00"), "report  unchanged  every day at 08:00 Europe/Berlin\n");
    assert_eq!(add("09:30"), "report  changed  every day at 09:30 Europe/Berlin\n");

    let next = objects(site, ["schedules", "next", "report", "-n", "10", "--json"]);
    assert_eq!(next.len(), 10);
    let times: Vec<&str> = next.iter().map(|next| &next["due"].as_str().unwrap()[11..]).collect();
    assert!(times.iter().all(|time| ["07:30:00.000000Z", "08:30:00.000000Z"].contains(time)), "{times:?}");
    let listed = objects(site, ["schedules", "list", "--json"]);
    assert_eq!((&listed[0]["state"], &listed[0]["next"]), (&"on".into(), &next[0]["due"]));

    assert_eq!(site.run(["schedules", "pause", "report"]), "report  paused\n");
    assert_eq!(site.run(["schedules", "pause", "report"]), "report  skipped  it is paused already\n");
    assert_eq!(shown(site, "report")["state"], "paused");
    assert_eq!(site.run(["schedules", "resume", "report"]), "report  resumed\n");
    assert_eq!(site.run(["schedules", "resume", "report"]), "report  skipped  it is not paused\n");

    let id = site.run(["schedules", "fire", "report", "--at", "2026-03-29T02:30"]);
    let id: JobId = id.trim().parse().unwrap();
    let ran = site.run(["worker", "--until-empty", "--queues", "reports"]);
    assert_eq!(ran, "");
    assert_eq!(site.job(id).view.state, State::Completed);
    // 02:30 does not exist on that day: it is the next moment that there is.
    assert_eq!(site.run(["jobs", "logs", &id.to_string()]), "2026-03-29T01:00:00.000000Z  report\n");
    let report = shown(site, "report");
    assert_eq!(report["fired"], 0, "what is fired by hand is not counted");
    assert_eq!(report["firings"][0]["job"], id.to_string());
    assert_eq!(report["firings"][0]["kind"], "by_hand");
    assert_eq!(report["origin"]["from"], "cli");
    assert_eq!(report["open"], Value::Array(Vec::new()));

    assert_eq!(site.run(["schedules", "remove", "report"]), "report  removed\n");
    for verb in ["show", "next", "history", "pause", "resume", "fire", "remove"] {
        let (exit, said) = refused(site, ["schedules", verb, "report"]);
        assert_eq!(exit, 1, "{verb}: {said}");
        assert!(said.contains("there is no such schedule"), "{verb}: {said}");
    }
    assert_eq!(site.job(id).view.state, State::Completed, "its jobs stay");
}

/// NU-X8: a one-time schedule shows as done after it has run, and does not fire again.
#[test]
fn nu_x8_what_fires_once_is_done_then_also_when_it_is_added_again() {
    let site = Site::new();
    let add = ["schedules", "add", "once", "--after", "10ms", "--", "true"];
    site.run(add);
    let up = site.up(["--workers", "1"]);
    site.wait_until("it to fire", LIMIT, || shown(&site, "once")["state"] == "done");
    let once = shown(&site, "once");
    assert_eq!((&once["fired"], &once["next"]), (&1.into(), &Value::Null));

    let output =
        site.taskwright(["schedules", "add", "once", "--after", "20ms", "--", "true"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("once is done: nothing will be due"), "{said}");
    assert!(site.run(["schedules", "next", "once", "--json"]).is_empty());
    assert_eq!(shown(&site, "once")["fired"], 1);
    drop(up);
}

#[test]
fn an_event_reaches_the_task_with_what_it_carries_and_those_of_one_key_are_one_job() {
    an_event_reaches_the_task_with_what_it_carries_and_those_of_one_key_are_one_job_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn an_event_reaches_the_task_with_what_it_carries_and_those_of_one_key_are_one_job_on_postgresql() {
    an_event_reaches_the_task_with_what_it_carries_and_those_of_one_key_are_one_job_on(&Site::on_postgres());
}

fn an_event_reaches_the_task_with_what_it_carries_and_those_of_one_key_are_one_job_on(site: &Site) {
    let trigger = "order.* where total > 100";
    let mut add =
        site.taskwright(["schedules", "add", "big", "--event", trigger, "--coalesce", "--queue", "q"]);
    let command = ["--", "echo", "{event.topic}", "{event.payload.id} is {event.payload.total}"];
    assert!(add.args(command).output().unwrap().status.success());
    let emit = |payload: &str, key: &str| {
        site.run(["events", "emit", "order.paid", "--payload", payload, "--key", key]).trim().to_owned()
    };
    // Nobody is up: they are kept.
    let first = emit(r#"{"id": "a", "total": 101}"#, "a");
    emit(r#"{"id": "a", "total": 500}"#, "a");
    emit(r#"{"id": "b", "total": 100}"#, "b");
    emit(r#"{"id": "c", "total": 102.5}"#, "c");
    let twice = "01890000-0000-7000-8000-000000000000";
    for _ in 0..2 {
        assert_eq!(site.run(["events", "emit", "other", "--id", twice]).trim(), twice);
    }
    let up = site.up(["--workers", "0"]);
    let undelivered = || {
        let events = objects(site, ["events", "list", "--json"]);
        assert_eq!(events.len(), 5);
        events.iter().any(|event| event["delivered"] == false)
    };
    site.wait_until("the events to be delivered", LIMIT, || !undelivered());
    drop(up);
    site.run(["worker", "--until-empty"]);

    let jobs = site.jobs(&State::ALL);
    let mut said: Vec<String> =
        jobs.iter().map(|job| site.run(["jobs", "logs", &job.id.to_string()])).collect();
    said.sort();
    assert_eq!(said, ["order.paid a is 101\n", "order.paid c is 102.5\n"]);
    let firings = objects(site, ["schedules", "history", "big", "--json"]);
    let of_a: Vec<&Value> =
        firings.iter().filter(|firing| firing["job"] == firings.last().unwrap()["job"]).collect();
    assert_eq!(of_a.iter().map(|firing| firing["coalesced"] == true).collect::<Vec<_>>(), [true, false]);
    assert_eq!(of_a[1]["event"], first);
    let topics = objects(site, ["events", "list", "--topic", "other", "--json"]);
    assert_eq!(topics.len(), 1);
    assert_eq!(objects(site, ["events", "list", "-n", "2", "--json"]).len(), 2);
}

#[test]
fn an_expression_is_tried_out_without_a_store() {
    let directory = tempfile::tempdir().unwrap();
    let next = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_taskwright"));
        command.args(["schedules", "next", "--json", "--from", "2026-03-28T00:00:00Z", "-n", "3"]).args(args);
        let output = command.current_dir(directory.path()).env_remove("TASKWRIGHT_STORE").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let due =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["due"].as_str().unwrap().to_owned();
        text.lines().map(due).collect::<Vec<_>>()
    };
    assert_eq!(
        next(&["--cron", "30 2 * * *", "--timezone", "Europe/Berlin"]),
        ["2026-03-28T01:30:00.000000Z", "2026-03-29T01:00:00.000000Z", "2026-03-30T00:30:00.000000Z"]
    );
    assert_eq!(
        next(&["--every", "36h", "--monthly", "last 12:00"]),
        ["2026-03-29T12:00:00.000000Z", "2026-03-31T00:00:00.000000Z", "2026-03-31T12:00:00.000000Z"]
    );
    // As `up` would register it: from the config file alone.
    let config = "[schedules.a]\ntask = \"exec\"\nargs = { command = [\"true\"] }\ndaily = \"08:00\"\n";
    std::fs::write(directory.path().join("taskwright.toml"), config).unwrap();
    assert_eq!(next(&["a"])[0], "2026-03-28T08:00:00.000000Z");
}

//! A schedule in the config file makes its jobs as long as it stands there: through the death of `up` without a double or a
//! gap, and paused or disabled through restarts; taken out of the file, it is removed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use taskwright::State;

use crate::support::Site;

const LIMIT: Duration = Duration::from_secs(60);

/// Every second, however long it takes, and whatever was missed.
const TICK: &str = "[schedules.tick]\ntask = \"exec\"\nargs = { command = [\"true\", \"{due}\"] }\nevery = \"1s\"\n\
                    overlap = \"allow\"\nmisfire = \"all\"\n";

/// What is fired once every hundred years.
const IDLE: &str =
    "[schedules.idle]\ntask = \"exec\"\nargs = { command = [\"true\"] }\ncron = \"0 0 29 2 *\"\n";

fn write(site: &Site, config: &str) {
    std::fs::write(site.path().join("taskwright.toml"), config).unwrap();
}

/// The lines of JSON that a command prints.
fn objects<const N: usize>(site: &Site, args: [&str; N]) -> Vec<Value> {
    site.run(args).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn history(site: &Site) -> Vec<Value> {
    objects(site, ["schedules", "history", "tick", "--json"])
}

/// The state of each schedule.
fn states(site: &Site) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let listed = objects(site, ["schedules", "list", "--json"]);
    listed.iter().map(|schedule| (text(&schedule["name"]), text(&schedule["state"]))).collect()
}

fn fired(firings: &[Value]) -> usize {
    firings.iter().filter(|firing| firing["outcome"] == "fired").count()
}

fn wait_for_firings(site: &Site, count: usize) {
    site.wait_until("the schedule to fire", LIMIT, || fired(&history(site)) >= count);
}

#[test]
fn a_schedule_goes_on_after_a_kill_without_a_double_or_a_gap() {
    a_schedule_goes_on_after_a_kill_without_a_double_or_a_gap_on(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn a_schedule_goes_on_after_a_kill_without_a_double_or_a_gap_on_postgresql() {
    a_schedule_goes_on_after_a_kill_without_a_double_or_a_gap_on(&Site::on_postgres());
}

fn a_schedule_goes_on_after_a_kill_without_a_double_or_a_gap_on(site: &Site) {
    write(site, TICK);
    let up = site.up(["--workers", "1"]);
    wait_for_firings(site, 3);
    up.kill();
    let before = fired(&history(site));
    let up = site.up(["--workers", "1"]);
    wait_for_firings(site, before + 3);
    let shown = &objects(site, ["schedules", "show", "tick", "--json"])[0];
    assert_eq!(shown["origin"]["from"], "config");
    assert!(up.stop().success());

    let firings = history(site);
    assert_eq!(fired(&firings), firings.len(), "nothing was skipped: {firings:#?}");
    let dues: BTreeSet<i64> = firings
        .iter()
        .map(|firing| firing["due"].as_str().unwrap().parse::<taskwright::Timestamp>().unwrap().as_micros())
        .collect();
    assert_eq!(dues.len(), firings.len(), "each due time fired once");
    let gaps: Vec<i64> = dues.iter().zip(dues.iter().skip(1)).map(|(a, b)| b - a).collect();
    assert!(gaps.iter().all(|gap| *gap == 1_000_000), "no due time is missing: {gaps:?}");
    let jobs: BTreeSet<&str> = firings.iter().map(|firing| firing["job"].as_str().unwrap()).collect();
    assert_eq!(jobs.len(), firings.len(), "each has a job of its own");
    assert_eq!(site.jobs(&State::ALL).len(), firings.len(), "there are no other jobs");
    site.check_integrity();
}

/// NU-X4: paused and disabled schedules rest through a restart.
#[test]
fn nu_x4_a_pause_and_a_definition_that_is_not_enabled_last_through_a_restart() {
    let site = Site::new();
    let disabled = format!("{}enabled = false\n", TICK.replace("tick", "off"));
    write(&site, &format!("{TICK}{disabled}"));
    let up = site.up(["--workers", "1"]);
    wait_for_firings(&site, 1);
    assert_eq!(site.run(["schedules", "pause", "tick"]), "tick  paused\n");
    let fired_before = fired(&history(&site));
    up.kill();

    let up = site.up(["--workers", "1"]);
    let state = |name: &str, state: &str| (name.to_owned(), state.to_owned());
    assert_eq!(states(&site), [state("off", "disabled"), state("tick", "paused")]);
    // What another schedule fires shows that this `up` does.
    site.run(["schedules", "add", "other", "--every", "100ms", "--", "true"]);
    let others = || objects(&site, ["schedules", "history", "other", "--json"]).len();
    site.wait_until("another schedule to fire", LIMIT, || others() >= 12);
    assert_eq!(fired(&history(&site)), fired_before);
    assert!(objects(&site, ["schedules", "history", "off", "--json"]).is_empty());

    assert_eq!(site.run(["schedules", "resume", "tick"]), "tick  resumed\n");
    wait_for_firings(&site, fired_before + 1);
    let skipped: Vec<Value> = history(&site).into_iter().filter(|firing| firing["reason"] == "off").collect();
    assert!(!skipped.is_empty(), "what was due in the pause is skipped, and says so");
    drop(up);
}

#[test]
fn what_is_taken_out_of_the_file_is_removed_and_what_others_registered_stays() {
    let site = Site::new();
    write(&site, &format!("{TICK}{IDLE}"));
    let drain = || {
        let output = site.taskwright(["worker", "--until-empty"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    };
    let said = drain();
    assert!(said.contains("schedule tick registered: every second"), "{said}");
    site.run(["schedules", "add", "mine", "--cron", "0 0 29 2 *", "--", "true"]);

    write(&site, &IDLE.replace("idle", "mine"));
    let said = drain();
    assert!(said.contains("schedule mine changed, and no longer from cli:"), "{said}");
    for name in ["tick", "idle"] {
        assert!(said.contains(&format!("schedule {name} removed")), "{said}");
    }
    assert_eq!(states(&site), [("mine".to_owned(), "on".to_owned())]);

    // Another file is somebody else's.
    std::fs::write(site.path().join("other.toml"), "").unwrap();
    let output = site.taskwright(["--config", "other.toml", "worker", "--until-empty"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(states(&site).len(), 1);
    let said = drain();
    assert!(!said.contains("schedule"), "nothing has changed, and nothing is said: {said}");
}

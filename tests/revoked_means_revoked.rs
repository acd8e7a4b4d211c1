//! What a token had made through a server, a schedule and a bulk, stops when the token is revoked, and a schedule goes on with
//! the token that replaces it.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::support::Site;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn what_a_revoked_token_had_made_makes_no_more_jobs() {
    check(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn what_a_revoked_token_had_made_makes_no_more_jobs_on_postgresql() {
    check(&Site::on_postgres());
}

fn check(site: &Site) {
    std::fs::write(site.path().join("taskwright.toml"), "[tasks.note]\ncommand = \"true\"\n").unwrap();
    site.run(["migrate"]);
    site.run(["tokens", "create", "root", "--superuser"]);
    let create = || site.run(["tokens", "create", "keeper", "--role", "admin"]).trim().to_owned();
    let keeper = create();
    let mut command = site.taskwright(["up", "--workers", "1", "--concurrency", "4"]);
    let up = site.start_until(command.env("TASKWRIGHT_LISTEN", "127.0.0.1:0"), "http     http://");
    let url = up.last_line().split_whitespace().last().unwrap().to_owned();
    let over_http = |words: &[&str]| {
        let mut command = site.taskwright([]);
        let output = command.args(words).args(["--server", &url]).env("TASKWRIGHT_TOKEN", &keeper).output();
        let output: Output = output.unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };

    over_http(&["schedules", "add", "tick", "--task", "note", "--every", "1s"]);
    let bulk = over_http(&["bulk", "create", "--size", "1000000", "--window", "5", "note"]);
    let told = || -> Value { serde_json::from_str(&site.run(["bulk", "show", &bulk, "--json"])).unwrap() };
    site.wait_until("both to make jobs", LIMIT, || outcomes(site, "fired") > 0 && told()["settled"] != 0);
    assert_eq!(told()["authority"], "token:keeper@default");

    site.run(["tokens", "revoke", "keeper"]);
    site.wait_until("the bulk to fail", LIMIT, || told()["state"] == "failed");
    let error = told()["error"].as_str().unwrap().to_owned();
    assert_eq!(error, "token:keeper@default created it, and may not have this done any more");
    assert_eq!(told()["made"], told()["settled"]);
    site.wait_until("the schedule to be refused", LIMIT, || outcomes(site, "forbidden") >= 1);
    let fired = outcomes(site, "fired");
    site.wait_until("the schedule to be refused again", LIMIT, || outcomes(site, "forbidden") >= 3);
    assert_eq!(outcomes(site, "fired"), fired);
    assert!(
        site.run(["schedules", "history", "tick"]).contains("who registered it may not have it any more")
    );
    assert!(site.run(["schedules", "show", "tick"]).contains("token:keeper@default"));

    create();
    site.wait_until("the schedule to go on", LIMIT, || outcomes(site, "fired") > fired);
    assert!(up.stop().success());
}

/// How many lines of the schedule's history say so.
fn outcomes(site: &Site, what: &str) -> usize {
    let history = site.run(["schedules", "history", "tick", "--limit", "all", "--json"]);
    let quoted = format!("\"{what}\"");
    history.lines().filter(|line| line.contains(&quoted)).count()
}

//! Services of processes are listed with their state, their last error, and whether anybody has heard of them.

use std::time::Duration;

use taskwright::core::ServiceState;
use taskwright::core::limit::SERVICE_SILENT_AFTER;
use taskwright_server::Exit;

use crate::cli::Cli;

#[test]
fn each_is_listed_with_how_it_is() {
    let cli = Cli::new();
    let none = cli.run("services list");
    assert_eq!((none.exit, none.out.as_str()), (Exit::Ok, ""));
    assert!(none.err.starts_with("no services: "), "{}", none.err);

    cli.tell_of_service("sampler", ServiceState::Running, 11, Duration::ZERO);
    cli.tell_of_service("writer", ServiceState::Failed, 12, Duration::ZERO);
    cli.tell_of_service("gone", ServiceState::Running, 13, SERVICE_SILENT_AFTER * 2);
    let listed = cli.run("services list").out;
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 4, "{listed}");
    assert!(lines[1].starts_with("gone ") && lines[1].contains("silent (running)"), "{listed}");
    assert!(lines[2].starts_with("sampler ") && lines[2].contains("running") && lines[2].contains("build-3"));
    assert!(lines[3].contains("failed (restarts)") && lines[3].contains("the disk is full"), "{listed}");
    assert!(!listed.contains('\u{1b}'), "a service writes nothing to the terminal but text");

    let json = cli.run("services list --json").out;
    let json: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let facts: Vec<_> =
        json.iter().map(|one| (one["name"].as_str().unwrap(), one["heard"].as_bool().unwrap())).collect();
    assert_eq!(facts, [("gone", false), ("sampler", true), ("writer", true)]);
    assert_eq!((&json[2]["state"], &json[2]["restarts"]), (&"failed".into(), &3.into()));
}

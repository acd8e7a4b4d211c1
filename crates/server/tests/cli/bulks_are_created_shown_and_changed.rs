//! Bulks are created, listed, shown, paused, resumed, cancelled, and what failed of them is run again.

use serde_json::Value;
use taskwright::bulk::BulkSet;
use taskwright::generator::GeneratorSet;
use taskwright_core::attempt::Outcome;
use taskwright_server::Exit;

use crate::cli::Cli;

fn work(cli: &Cli, id: &str) {
    // Otherwise it is looked at after a while.
    cli.run(&format!("generators poll bulk:count:{id}"));
    cli.do_duties(GeneratorSet::new().with_bulks(&BulkSet::built_in()).unwrap());
}

/// Creates a bulk of three items, and gives the id of its parent.
fn create(cli: &Cli, more: &str) -> String {
    let ran = cli.run(&format!("bulk create probe --size 3 --any-kind {more}"));
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    ran.out.trim().to_owned()
}

fn shown(cli: &Cli, id: &str) -> Value {
    serde_json::from_str(&cli.run(&format!("bulk show {id} --json")).out).unwrap()
}

#[test]
fn a_bulk_is_created_run_and_shown() {
    let cli = Cli::new();
    let id = create(&cli, "--args {\"n\":\"{index}\"} --owner alice --on-failure 50%");
    let waiting = cli.run(&format!("bulk show {id}"));
    for part in ["count blocked", "0/3", "alice", "50%", "1000 at a time, priority bulk"] {
        assert!(waiting.out.contains(part), "{part}: {}", waiting.out);
    }
    work(&cli, &id);
    let (first, second, third) = (cli.claim(), cli.claim(), cli.claim());
    assert_eq!((first.args.as_str(), third.args.as_str()), ("{\"n\":0}", "{\"n\":2}"));
    cli.finish(&first, Outcome::Completed { result: None });
    cli.finish(&second, Outcome::Fail { error: "410 Gone".to_owned() });
    cli.finish(&third, Outcome::Completed { result: None });
    work(&cli, &id);
    let told = shown(&cli, &id);
    let facts = ["state", "completed", "failed", "settled", "author"].map(|key| told[key].clone());
    assert_eq!(facts, ["completed".into(), 2.into(), 1.into(), 3.into(), Value::from("alice")]);
    let listed = cli.run("bulk list");
    assert!(listed.out.contains(&id) && listed.out.contains("3/3"), "{}", listed.out);
    assert_eq!(cli.run(&format!("jobs wait {id}")).exit, Exit::Ok);
    let again = cli.run(&format!("bulk retry {id}"));
    assert_eq!(again.out, format!("{id}  1 item run again\n"));
    assert_eq!(cli.claim().id, second.id);
}

#[test]
fn more_than_20_items_run_again_only_when_somebody_says_so() {
    let cli = Cli::new();
    let ran = cli.run("bulk create probe --size 21 --any-kind --max-attempts 1");
    let id = ran.out.trim().to_owned();
    work(&cli, &id);
    for _ in 0..21 {
        cli.finish(&cli.claim(), Outcome::Fail { error: "410 Gone".to_owned() });
    }
    work(&cli, &id);
    let refused = cli.run(&format!("bulk retry {id}"));
    assert_eq!((refused.exit, refused.out.as_str()), (Exit::Usage, ""));
    assert!(refused.err.contains("retry 21 items") && refused.err.contains("--yes"), "{}", refused.err);
    let again = cli.run(&format!("bulk retry {id} --yes"));
    assert_eq!(again.out, format!("{id}  21 items run again\n"));
}

#[test]
fn a_bulk_is_paused_resumed_and_cancelled() {
    let cli = Cli::new();
    let id = create(&cli, "--window 2");
    let ran = |verb: &str| cli.run(&format!("bulk {verb} {id}"));
    assert_eq!(ran("pause --reason noisy").out, format!("{id}  paused\n"));
    assert_eq!(ran("pause").out, format!("{id}  skipped  it is paused already\n"));
    assert!(ran("show").out.contains("noisy"));
    assert_eq!(shown(&cli, &id)["paused"]["reason"], "noisy");
    assert_eq!(ran("resume").out, format!("{id}  resumed\n"));
    work(&cli, &id);
    assert_eq!(shown(&cli, &id)["outstanding"], 2);
    assert_eq!(ran("cancel --reason enough").out, format!("{id}  cancelled\n"));
    assert_eq!(ran("cancel").out, format!("{id}  skipped  it is over already\n"));
    work(&cli, &id);
    let told = shown(&cli, &id);
    assert_eq!(
        (&told["state"], &told["cancelled"], &told["window"]),
        (&"cancelled".into(), &2.into(), &Value::Null)
    );
    assert_eq!(ran("pause").exit, Exit::Operational);
    assert_eq!(cli.run(&format!("jobs wait {id}")).exit.code(), 16);
}

#[test]
fn a_bulk_of_another_namespace_looks_unknown() {
    let cli = Cli::new();
    let id = create(&cli, "");
    let ran = cli.run(&format!("--namespace other bulk cancel {id}"));
    assert_eq!(ran.exit, Exit::Operational);
    assert!(ran.err.contains("there is no such bulk"), "{}", ran.err);
    assert_eq!(shown(&cli, &id)["state"], "blocked");
}

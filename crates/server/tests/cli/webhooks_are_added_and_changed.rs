//! Endpoints of webhooks are added, listed, shown, disabled, enabled and removed; and no secret is printed twice.

use taskwright_server::Exit;

use crate::cli::Cli;

fn parsed(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn with_endpoint() -> (Cli, String) {
    let cli = Cli::new();
    let ran = cli
        .run("webhooks add billing https://example.org/hook --topic order.* --topic job.failed --order key");
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let secret = ran.out.trim().to_owned();
    assert!(secret.starts_with("whsec_"), "{secret}");
    (cli, secret)
}

#[test]
fn one_is_listed_and_shown_without_its_secret() {
    let (cli, secret) = with_endpoint();
    let list = cli.run("webhooks list").out;
    assert!(
        list.contains("billing") && list.contains("order.*, job.failed") && list.contains("on"),
        "{list}"
    );
    let listed = &parsed(&cli.run("webhooks list --json").out)[0];
    let facts = ["name", "status", "url", "order", "in_flight", "backlog_max"].map(|key| listed[key].clone());
    let expected = serde_json::json!(["billing", "on", "https://example.org/hook", "key", 1, 0]);
    assert_eq!(serde_json::json!(facts), expected);
    let shown = cli.run("webhooks show billing").out;
    for part in ["billing  on", "https://example.org/hook", "events of one key wait", "0 events at most"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    for verb in [
        "webhooks show billing",
        "webhooks show billing --json",
        "webhooks list --json",
        "generators show webhook:billing",
    ] {
        let ran = cli.run(verb);
        assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
        assert!(!ran.out.contains(&secret[6..20]), "{verb}: {}", ran.out);
    }
    assert_eq!(cli.run("--namespace other webhooks list").out, "");
}

#[test]
fn one_is_disabled_enabled_and_removed() {
    let (cli, _) = with_endpoint();
    cli.run("events emit order.paid");
    assert_eq!(parsed(&cli.run("webhooks list --json").out)[0]["backlog_max"], 1);
    assert_eq!(cli.run("webhooks disable billing --reason away").out, "billing  disabled, backlog parked\n");
    assert_eq!(cli.run("webhooks disable billing").out, "billing  skipped  it is so already\n");
    let shown = cli.run("webhooks show billing").out;
    assert!(
        shown.contains("billing  disabled") && shown.contains(": away; the backlog is parked"),
        "{shown}"
    );
    for n in 0..21 {
        assert_eq!(cli.run(&format!("events emit billing.late --payload {n}")).exit, Exit::Ok);
    }
    let asked = cli.run("webhooks disable billing --drop");
    assert_eq!(asked.exit, Exit::Usage, "more than 20 are not dropped unasked: {}", asked.out);
    assert_eq!(cli.run("webhooks disable billing --drop --yes").out, "billing  disabled, backlog dropped\n");
    assert_eq!(parsed(&cli.run("webhooks list --json").out)[0]["backlog_max"], 0);
    assert_eq!(cli.run("webhooks enable billing").out, "billing  enabled\n");
    assert_eq!(
        cli.run("webhooks enable billing").out,
        "billing  skipped  it is enabled, and does not fail\n"
    );
    assert_eq!(cli.run("webhooks remove billing").out, "billing  removed\n");
    let ran = cli.run("webhooks remove billing");
    assert_eq!(ran.exit, Exit::Operational);
    assert!(ran.err.contains("there is no such webhook"), "{}", ran.err);
}

#[test]
fn a_rotation_prints_the_new_secret_and_a_given_one_is_not_printed() {
    let (mut cli, secret) = with_endpoint();
    let rotated = cli.run("webhooks rotate billing").out;
    assert!(rotated.starts_with("whsec_") && rotated.trim() != secret, "{rotated}");
    assert!(cli.run("webhooks show billing").out.contains("two, the old one until"));
    cli.input(secret.as_str());
    let ran = cli.run("webhooks add own https://example.org/ --secret-file -");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, "own\n"), "{}", ran.err);
}

#[test]
fn events_are_delivered_again_by_id_and_by_time() {
    let (cli, _) = with_endpoint();
    let ids: Vec<String> = (0..3).map(|_| cli.run("events emit order.paid").out.trim().to_owned()).collect();
    cli.run("events emit user.new");
    let ran = cli.run(&format!("webhooks redeliver billing {} {}", ids[0], ids[2]));
    assert_eq!(
        (ran.exit, ran.out.as_str()),
        (Exit::Ok, "billing  2 events to be delivered\n"),
        "{}",
        ran.err
    );
    let ran = cli.run("webhooks redeliver billing --after 1h --json");
    assert_eq!(parsed(&ran.out)[0]["events"], 3, "those of its topics: {}", ran.err);
    assert_eq!(parsed(&cli.run("webhooks redeliver billing --after 1h --failed --json").out)[0]["events"], 0);
    assert_eq!(parsed(&cli.run("webhooks show billing --json").out)[0]["retries"], 3);
    for _ in 0..20 {
        cli.run("events emit order.paid");
    }
    let ran = cli.run("webhooks redeliver billing --after 1h");
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("pass --yes"), "{}", ran.err);
    assert_eq!(
        cli.run("webhooks redeliver billing --after 1h --yes").out,
        "billing  23 events to be delivered\n"
    );
    for _ in 0..5 {
        let ids: Vec<String> =
            (0..20).map(|_| cli.run("events emit order.paid").out.trim().to_owned()).collect();
        cli.run(&format!("webhooks redeliver billing {}", ids.join(" ")));
    }
    let shown = cli.run("webhooks show billing").out;
    assert!(shown.contains("123, the next"), "all are counted: {shown}");
}

#[test]
fn what_was_not_kept_for_an_endpoint_is_told_by_show_and_doctor() {
    let (cli, _) = with_endpoint();
    let doctor = |cli: &Cli| {
        let checks = parsed(&cli.run("doctor --json").out);
        checks.into_iter().find(|check| check["name"] == "webhooks").unwrap()
    };
    assert_eq!(doctor(&cli)["found"], "1 webhook, none in trouble");
    cli.run("webhooks disable billing");
    for _ in 0..3 {
        cli.run("events emit order.paid");
    }
    cli.forget_events();
    let shown = cli.run("webhooks show billing").out;
    assert!(shown.contains("3 events at most; 3 of these are not kept any more"), "{shown}");
    assert_eq!(parsed(&cli.run("webhooks show billing --json").out)[0]["gone_max"], 3);
    let told = doctor(&cli);
    assert_eq!(told["ok"], false);
    assert_eq!(told["found"], "billing: at most 3 events were not kept until it could be told of them");
    cli.run("webhooks disable billing --drop");
    assert_eq!(doctor(&cli)["ok"], true, "nobody wants them any more");
}

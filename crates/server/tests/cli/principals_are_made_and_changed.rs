//! Tokens and users are made, listed and taken away; what is secret is told once, or never.

use taskwright_server::Exit;

use crate::cli::{Cli, Ran};

fn parsed(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ok(ran: Ran) -> Ran {
    assert_eq!(ran.exit, Exit::Ok, "{}{}", ran.out, ran.err);
    ran
}

/// A command line with a password on its standard input.
fn with_password(password: &str) -> Cli {
    let mut cli = Cli::new();
    cli.input(password);
    cli
}

#[test]
fn a_token_is_printed_once_and_nowhere_else() {
    let cli = Cli::new();
    let ran = ok(cli.run("tokens create ci --role member --expires 90d"));
    let token = ran.out.trim_end();
    assert!(token.starts_with("tw_") && token.len() == 75 && ran.out.lines().count() == 1, "{token}");
    assert!(ran.err.contains("shown this once"));
    for args in ["tokens list", "tokens list --json", "tokens list --all --json", "audit list --json"] {
        let ran = ok(cli.run(args));
        assert!(ran.out.contains("ci") && !ran.out.contains(&token[11..]), "{args}: {}", ran.out);
    }
    let listed = &parsed(&cli.run("tokens list --json").out)[0];
    assert_eq!((&listed["role"], &listed["namespace"]), (&"member".into(), &"default".into()));
    assert_eq!((&listed["hint"], &listed["used_at"]), (&token[..11].into(), &serde_json::Value::Null));
    assert_eq!((&listed["scopes"], &listed["superuser"]), (&serde_json::Value::Null, &false.into()));
}

#[test]
fn a_token_is_made_narrow_and_in_a_namespace() {
    let cli = Cli::new();
    let ran = ok(
        cli.run("tokens create see --namespace shop --role viewer --scope jobs.view --scope queues.* --json")
    );
    let made = &parsed(&ran.out)[0];
    assert!(made["token"].as_str().unwrap().starts_with("tw_"));
    assert_eq!(made["scopes"], serde_json::json!(["jobs.view", "queues.view", "queues.change"]));
    assert_eq!(parsed(&cli.run("tokens list --namespace shop --json").out).len(), 1);
    assert_eq!(parsed(&cli.run("tokens list --namespace default --json").out).len(), 0);
    for wrong in [
        "tokens create a",
        "tokens create a --role boss",
        "tokens create a --role admin --superuser",
        "tokens create a --superuser --namespace shop",
        "tokens create a --role member --scope jobs.fly",
        "tokens create a:b --role member",
        "tokens create a --role member --expires soon",
    ] {
        assert_eq!(cli.run(wrong).exit, Exit::Usage, "{wrong}");
    }
    assert_eq!(parsed(&cli.run("tokens list --all --json").out).len(), 1);
}

#[test]
fn a_token_is_revoked_by_name_or_id_and_all_or_none_of_a_call() {
    let cli = Cli::new();
    for name in ["a", "b", "c"] {
        ok(cli.run(&format!("tokens create {name} --role member")));
    }
    let ran = cli.run("tokens create a --role admin");
    assert!(ran.exit == Exit::Operational && ran.err.contains("one of this name already"), "{}", ran.err);
    let ran = cli.run("tokens revoke a nobody");
    assert!(ran.exit == Exit::Operational && ran.err.contains("nobody"), "{}", ran.err);
    assert_eq!(parsed(&cli.run("tokens list --json").out).len(), 3);
    let listed = parsed(&cli.run("tokens list --json").out);
    let id = listed.iter().find(|one| one["name"] == "c").unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(ok(cli.run(&format!("tokens revoke a {id}"))).out, "a  revoked\nc  revoked\n");
    assert_eq!(parsed(&cli.run("tokens list --json").out).len(), 1);
    let states: Vec<_> = parsed(&cli.run("tokens list --all --json").out)
        .iter()
        .map(|one| one["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["revoked", "good", "revoked"]);
    assert_eq!(cli.run("tokens revoke a").exit, Exit::Operational, "it is revoked already");
}

#[test]
fn somebody_is_superuser_at_all_times() {
    let cli = Cli::new();
    ok(cli.run("tokens create root --superuser"));
    let ran = cli.run("tokens revoke root --superuser");
    assert!(ran.exit == Exit::Operational && ran.err.contains("nobody would be superuser"), "{}", ran.err);
    ok(cli.run("tokens create other --superuser"));
    ok(cli.run("tokens revoke root --superuser"));
}

#[test]
fn a_user_is_added_with_a_password_that_nobody_sees() {
    let cli = with_password("a few words of mine\n");
    let ran = ok(cli.run("users add alice --role admin"));
    assert_eq!(ran.out, "alice  added\n");
    let ran = cli.run("users add alice");
    assert!(ran.exit == Exit::Operational && ran.err.contains("one of this name already"), "{}", ran.err);
    assert!(ok(cli.run("users add bob")).err.contains("users grant"));
    let listed = parsed(&cli.run("users list --json").out);
    assert_eq!((&listed[0]["name"], &listed[0]["roles"]["default"]), (&"alice".into(), &"admin".into()));
    assert_eq!((&listed[1]["roles"], &listed[1]["disabled"]), (&serde_json::json!({}), &false.into()));
    for args in ["users list", "users list --json", "audit list --json"] {
        let out = ok(cli.run(args)).out;
        assert!(!out.contains("few words") && !out.contains("argon2"), "{args}: {out}");
    }
    assert!(cli.run("users add carol few-words").exit == Exit::Usage, "a password is no argument");
}

#[test]
fn a_password_that_is_too_short_or_too_long_is_refused_and_not_repeated() {
    for password in ["hunter2\n".to_owned(), String::new(), "y".repeat(2_000)] {
        let cli = with_password(&password);
        let ran = cli.run("users add alice --superuser");
        assert_eq!(ran.exit, Exit::Usage, "{}", ran.err);
        assert!(
            ran.err.contains("the password") && !ran.err.contains("hunter2") && !ran.err.contains("yyyy")
        );
    }
}

#[test]
fn roles_are_given_and_taken_namespace_by_namespace() {
    let cli = with_password("a few words of mine");
    ok(cli.run("users add alice --role admin"));
    assert_eq!(
        ok(cli.run("users grant alice --namespace shop --role viewer")).out,
        "alice  admin of default, viewer of shop\n"
    );
    assert_eq!(ok(cli.run("users grant alice --none")).out, "alice  viewer of shop\n");
    assert_eq!(parsed(&cli.run("users list --namespace shop --json").out).len(), 1);
    assert_eq!(parsed(&cli.run("users list --namespace default --json").out).len(), 0);
    assert_eq!(ok(cli.run("users grant alice --superuser")).out, "alice  superuser\n");
    let ran = cli.run("users grant alice --role member");
    assert!(ran.exit == Exit::Operational && ran.err.contains("nobody would be superuser"), "{}", ran.err);
    for verb in ["disable", "remove"] {
        assert_eq!(cli.run(&format!("users {verb} alice")).exit, Exit::Operational, "{verb}");
    }
    ok(cli.run("tokens create root --superuser"));
    assert_eq!(ok(cli.run("users disable alice")).out, "alice  disabled\n");
    assert_eq!(parsed(&cli.run("users list --json").out)[0]["disabled"], true);
    ok(cli.run("users enable alice"));
    ok(cli.run("users password alice"));
    assert_eq!(ok(cli.run("users remove alice")).out, "alice  removed\n");
    for args in ["users remove alice", "users grant alice --none", "users password alice"] {
        let ran = cli.run(args);
        assert!(
            ran.exit == Exit::Operational && ran.err.contains("none of this name"),
            "{args}: {}",
            ran.err
        );
    }
}

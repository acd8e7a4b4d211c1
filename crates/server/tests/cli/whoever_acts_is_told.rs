//! As whom the command line acts: where the store is at hand, as the local user, who may do everything.

use taskwright_server::Exit;

use crate::cli::Cli;

#[test]
fn whoever_has_the_store_is_the_local_user_and_superuser() {
    let cli = Cli::new();
    let ran = cli.run("whoami --json");
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    let who: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&who["kind"], &who["superuser"], &who["scopes"]),
        (&"local".into(), &true.into(), &().into())
    );
    assert_eq!(who["expires_at"], serde_json::Value::Null);
    // It is who stands in the audit.
    cli.job("probe");
    cli.run("queues pause mail");
    let told: serde_json::Value = serde_json::from_str(&cli.run("audit list -n 1 --json").out).unwrap();
    assert_eq!(told["who"], who["name"]);
    let shown = cli.run("whoami").out;
    assert!(shown.contains("roles    superuser\n") && shown.contains("expires  never\n"), "{shown}");
    assert!(shown.contains("asked    the store "), "{shown}");
}

#[test]
fn the_version_is_told_as_json_too() {
    let cli = Cli::new();
    let told: serde_json::Value = serde_json::from_str(&cli.run("--version --json").out).unwrap();
    assert_eq!((&told["name"], &told["version"]), (&"taskwright".into(), &env!("CARGO_PKG_VERSION").into()));
    assert_eq!(cli.run("--version").out, format!("taskwright {}\n", env!("CARGO_PKG_VERSION")));
}

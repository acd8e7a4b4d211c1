//! A crate that is no member of the workspace (`examples/outside`) enqueues in transactions of sqlx and of diesel-async, and has SQLite
//! by sqlx beside Taskwright's.

use std::path::PathBuf;
use std::process::Command;

use crate::cluster::Cluster;

/// The target directory that these tests are in.
fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

#[test]
fn a_crate_outside_of_the_workspace_enqueues_by_sqlx_and_by_diesel() {
    let database = Cluster::shared().database();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/outside/Cargo.toml");
    // `./test` has built it by then.
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir"])
        .arg(target().join("outside"))
        .env("DATABASE_URL", database.url())
        .output()
        .unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["sqlx: a receipt for [1]", "diesel-async: a receipt for [3]"], "{said}");
    assert!(lines[2].starts_with("SQLite 3.") && lines[2].ends_with(": a receipt for [5]"), "{said}");
    assert_eq!(database.sql("SELECT array_agg(id ORDER BY id) FROM shop_order"), "{1,3}");
}

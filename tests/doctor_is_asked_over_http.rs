//! `doctor` through a server finds what it finds where the store is, of the database server too.

use crate::support::Site;

/// What was looked at, and whether that was all right.
fn checks(text: &str) -> Vec<(String, bool)> {
    let of = |line: &str| {
        let check: serde_json::Value = serde_json::from_str(line).unwrap();
        (check["name"].as_str().unwrap().to_owned(), check["ok"].as_bool().unwrap())
    };
    text.lines().map(of).collect()
}

/// What it says where the store is, and through a server.
fn asked(site: &Site) -> (String, String) {
    let mut command = site.taskwright(["serve"]);
    let up = site.start_until(command.env("TASKWRIGHT_LISTEN", "127.0.0.1:0"), "serves http://");
    let url = up.last_line().split_whitespace().last().unwrap().to_owned();
    let said = |args: &[&str]| {
        let output = site.taskwright([]).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let told = (said(&["doctor", "--json"]), said(&["doctor", "--json", "--server", &url]));
    assert!(up.stop().success());
    told
}

/// What is looked at on the way, and of the server itself.
const FIRST: [&str; 8] = ["reach", "tls", "ready", "token", "version", "process", "access", "config"];

fn is_told_alike(site: &Site, least: usize) {
    let (here, there) = asked(site);
    let (here, there) = (checks(&here), checks(&there));
    let (first, rest) = there.split_at(FIRST.len());
    assert_eq!(first.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), FIRST);
    assert!(first.iter().all(|(_, ok)| *ok), "{first:?}");
    assert_eq!(rest, here);
    assert!(here.len() >= least, "{here:?}");
}

#[test]
fn doctor_is_asked_over_http() {
    is_told_alike(&Site::new(), 6);
}

#[cfg(feature = "postgres")]
#[test]
fn doctor_is_asked_over_http_of_a_database_server() {
    is_told_alike(&Site::on_postgres(), 14);
}

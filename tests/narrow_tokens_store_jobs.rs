//! A token that is held to storing jobs stores them from the command line as the server's tasks say, and not as a file beside the command
//! does; and it looks at nothing else.

use std::path::Path;
use std::process::Output;

use taskwright::JobId;

use crate::support::{Site, Up};

const FILE: &str = "[tasks.\"mail.send\"]\ncommand = \"true\"\nqueue = \"outbox\"\n";

fn serve(site: &Site) -> (Up, String) {
    let file = site.path().join("server.toml");
    std::fs::write(&file, FILE).unwrap();
    let mut command = site.taskwright(["serve"]);
    command.arg("--config").arg(file).env("TASKWRIGHT_LISTEN", "127.0.0.1:0");
    let up = site.start_until(&mut command, "serves http://");
    let url = up.last_line().split_whitespace().last().unwrap().to_owned();
    (up, url)
}

/// Runs a command at another machine, as it were.
fn run(site: &Site, at: &Path, url: &str, token: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut command = site.taskwright([]);
    command.args(args).args(["--server", url, "--token", token]).current_dir(at);
    command.env("XDG_CONFIG_HOME", at.join("config"));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = if status.success() { stdout } else { stderr };
    (status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_token_that_is_held_to_storing_jobs_stores_them_and_looks_at_nothing() {
    let site = Site::new();
    let make = |name: &str, scopes: &[&str]| {
        let mut command =
            site.taskwright(["tokens", "create", name, "--namespace", "shop", "--role", "member"]);
        let output = command.args(scopes).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (narrow, member) = (make("ci", &["--scope", "jobs.enqueue"]), make("dev", &[]));
    let (server, url) = serve(&site);
    let away = tempfile::tempdir().unwrap();
    let run = |token: &str, args: &[&str]| run(&site, away.path(), &url, token, args);
    let stored = |token: &str, args: &[&str]| {
        let (code, told) = run(token, args);
        assert_eq!(code, Some(0), "{args:?}: {told}");
        let ids = told.lines().map(|line| site.job(line.parse::<JobId>().unwrap()).view);
        ids.map(|job| (job.namespace.to_string(), job.kind.to_string(), job.queue.to_string()))
            .collect::<Vec<_>>()
    };
    let job = |queue: &str| ("shop".to_owned(), "mail.send".to_owned(), queue.to_owned());
    std::fs::write(
        away.path().join("jobs"),
        "{\"kind\":\"mail.send\"}\n{\"kind\":\"mail.send\",\"queue\":\"q\"}\n",
    )
    .unwrap();

    assert_eq!(stored(&narrow, &["enqueue", "mail.send"]), [job("outbox")]);
    assert_eq!(stored(&narrow, &["enqueue", "--from-file", "jobs"]), [job("outbox"), job("q")]);
    // What a file here says is for a store here.
    std::fs::write(away.path().join("taskwright.toml"), FILE.replace("mail.send", "other")).unwrap();
    for (token, kind) in [(&narrow, "other"), (&member, "other"), (&narrow, "mail.sent")] {
        let (code, told) = run(token, &["enqueue", kind]);
        assert!(code == Some(2) && told.contains(kind), "{code:?} {told}");
    }
    assert_eq!(stored(&member, &["enqueue", "mail.send"]), [job("outbox")]);
    // It looks at nothing.
    for look in [&["jobs", "list"][..], &["queues", "list"], &["schedules", "list"]] {
        let (code, told) = run(&narrow, look);
        assert!(code == Some(1) && !told.contains("mail.send"), "{look:?}: {told}");
    }
    // One that is not good is told so.
    let (code, told) = run("tw_nobody", &["enqueue", "mail.send"]);
    assert!(code == Some(1) && told.contains("token"), "{code:?} {told}");
    assert!(server.stop().success());
    // That a server does not answer is no reason to go by a file here.
    let (code, told) = run(&narrow, &["enqueue", "other"]);
    assert_eq!(code, Some(1), "{told}");
}

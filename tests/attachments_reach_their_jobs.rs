//! What is attached to a job is there when its command runs, in files, on whatever store and over HTTP; and gone afterwards.

use std::time::Duration;

use taskwright::{JobId, State};

use crate::support::Site;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn on_sqlite() {
    attachments(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn on_postgresql() {
    attachments(&Site::on_postgres());
}

fn attachments(site: &Site) {
    let mut command = site.taskwright(["up", "--workers", "1"]);
    command.env("TASKWRIGHT_LISTEN", "127.0.0.1:0");
    let up = site.start_until(&mut command, "http     http://");
    let url = format!(
        "http://{}",
        up.last_line().rsplit_once("http://").unwrap().1.split_whitespace().next().unwrap()
    );
    up.wait_for_line("Ctrl-C stops it");
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(site.path().join("large.bin"), &large).unwrap();
    std::fs::write(site.path().join("small.txt"), "hello").unwrap();
    let script =
        "cd $TASKWRIGHT_ATTACHMENTS && pwd && ls && stat -c %a . && cat b.txt && cmp large.bin $0/large.bin";
    let here = site.path().to_str().unwrap();

    // In one go, with names as they are and others.
    let server = [("TASKWRIGHT_SERVER", url.as_str())];
    for variables in [&[][..], &server[..]] {
        let mut command =
            site.taskwright(["enqueue", "exec", "--attach", "large.bin", "--attach", "b.txt=small.txt"]);
        if !variables.is_empty() {
            command.env_remove("TASKWRIGHT_STORE");
        }
        let stored =
            command.args(["--", "sh", "-c", script, here]).envs(variables.iter().copied()).output().unwrap();
        assert!(stored.status.success(), "{stored:?}");
        let id: JobId = String::from_utf8(stored.stdout).unwrap().trim().parse().unwrap();
        site.wait_until("it to end", SOON, || site.job(id).view.state.is_terminal());
        let id = id.to_string();
        let log = site.run(["jobs", "logs", &id]);
        assert_eq!(site.job(id.parse().unwrap()).view.state, State::Completed, "{log}");
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines[1..], ["b.txt", "large.bin", "700", "hello"], "{log}");
        assert!(!std::path::Path::new(lines[0]).exists(), "the files are removed after the attempt");
        // They stay with the job.
        let output = site
            .taskwright(["jobs", "attachments", &id, "large.bin"])
            .envs(variables.iter().copied())
            .output();
        assert_eq!(output.unwrap().stdout, large);
        let listed =
            site.taskwright(["jobs", "attachments", &id, "--json"]).envs(variables.iter().copied()).output();
        let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
        let sum = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert!(listed.contains(sum) && listed.lines().count() == 2, "{listed}");
    }

    // Step by step; what runs takes nothing any more.
    let id =
        site.run(["enqueue", "exec", "--hold", "--", "sh", "-c", "cat $TASKWRIGHT_ATTACHMENTS/small.txt"]);
    let id = id.trim();
    assert!(site.run(["jobs", "attach", id, "small.txt"]).contains("small.txt  5 bytes  2cf24dba"));
    site.run(["jobs", "release", id]);
    site.wait_until("it to end", SOON, || site.job(id.parse().unwrap()).view.state == State::Completed);
    assert_eq!(site.run(["jobs", "logs", id]), "hello");
    let late = site.taskwright(["jobs", "attach", id, "small.txt"]).output().unwrap();
    assert_eq!(late.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&late.stderr).contains("only a held job takes attachments"), "{late:?}");
    assert!(up.stop().success());
}

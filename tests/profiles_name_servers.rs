//! Profiles: servers by name, with tokens that are never printed, go to no other server, and are read by nobody else.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use crate::support::{Site, Up};

fn serve(site: &Site) -> (Up, String) {
    let mut command = site.taskwright(["serve"]);
    let up = site.start_until(command.env("TASKWRIGHT_LISTEN", "127.0.0.1:0"), "serves http://");
    let url = up.last_line().split_whitespace().last().unwrap().to_owned();
    (up, url)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_profile_is_kept_used_and_removed_and_its_token_never_printed() {
    let site = Site::new();
    let secret = site.run(["tokens", "create", "boss", "--superuser"]).trim().to_owned();
    let (server, url) = serve(&site);
    // Where no store is: whoever asks it by mistake is told so.
    let away = tempfile::tempdir().unwrap();
    let config = away.path().join("config");
    let run = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = site.taskwright([]);
        command.args(args).current_dir(away.path()).env("XDG_CONFIG_HOME", &config);
        command.envs(variables.iter().copied()).stdin(std::process::Stdio::null());
        command.output().unwrap()
    };
    let good = |args: &[&str], variables: &[(&str, &str)]| {
        let output = run(args, variables);
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        text(&output)
    };
    let token = [("TASKWRIGHT_TOKEN", secret.as_str())];
    let mut all = good(&["profiles", "list"], &[]);
    all += &good(&["profiles", "add", "work", "--server", &url, "--namespace", "shop"], &token);
    all += &good(&["profiles", "add", "other", "--server", "http://127.0.0.1:1", "--no-token"], &[]);
    all += &good(&["profiles", "list"], &[]);
    all += &good(&["profiles", "list", "--json"], &[]);
    assert!(all.contains(r#""has_token":true,"in_use":false,"name":"work","namespace":"shop""#), "{all}");
    let file = config.join("taskwright/profiles.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    // Named by a flag, and by the environment; its namespace is meant.
    let id = good(&["enqueue", "exec", "--profile", "work", "--", "true"], &[]);
    let shown = text(&run(&["jobs", "show", id.trim(), "--json"], &[("TASKWRIGHT_PROFILE", "work")]));
    assert!(shown.contains(r#""namespace":"shop""#), "{shown}");
    all += &good(&["queues", "list", "--profile", "work", "--verbose"], &[]);
    // A flag comes before the environment, and a server before a profile.
    let nowhere = ("TASKWRIGHT_SERVER", "http://127.0.0.1:1");
    good(&["queues", "list", "--profile", "work"], &[nowhere]);
    assert_eq!(run(&["queues", "list"], &[nowhere, ("TASKWRIGHT_PROFILE", "work")]).status.code(), Some(1));
    good(&["queues", "list", "--server", &url], &[("TASKWRIGHT_PROFILE", "other"), token[0]]);
    // Without anything there is a store or none; the one in use is asked where no store is named.
    assert!(text(&run(&["queues", "list"], &[])).contains("there is no such file"));
    all += &good(&["profiles", "use", "work"], &[]);
    good(&["queues", "list"], &[]);
    let named = run(&["queues", "list", "--store", "sqlite:none.db"], &[]);
    assert!(text(&named).contains("there is no such file"), "{}", text(&named));
    good(&["config", "show"], &[]);
    good(&["migrate"], &[]);
    all += &text(&run(&["jobs", "list", "--profile", "wrok"], &[]));
    assert!(all.contains("is `work` meant?"), "{all}");

    // Others could read it.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = run(&["queues", "list", "--profile", "work"], &[]);
    assert_eq!(refused.status.code(), Some(1));
    all += &text(&refused);
    assert!(all.contains("others may read it") && all.contains("chmod 600"), "{all}");
    // One that is in use is a profile that somebody asks by, and the file tells of no other way.
    assert_eq!(run(&["queues", "list"], &[]).status.code(), Some(1));
    // What needs no profile goes on; and what looks after them says what is wrong, and does it.
    good(&["queues", "list", "--server", &url], &token);
    let listed = good(&["profiles", "list"], &[]);
    assert!(listed.contains("others may read it") && listed.contains("work"), "{listed}");
    all += &listed;
    all += &good(&["profiles", "remove", "work"], &[]);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    // None is in use: it is the store that is asked, whatever the file is like.
    good(&["queues", "list"], &[]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run(&["queues", "list", "--profile", "work"], &[]).status.code(), Some(2));
    assert!(!all.contains(&secret), "{all}");
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&secret), "it is gone with its profile");
    // A mistake in a config file is nothing to them.
    std::fs::write(away.path().join("taskwright.toml"), "nonsense").unwrap();
    good(&["profiles", "list"], &[]);
    good(&["completions", "bash"], &[]);
    assert_eq!(run(&["queues", "list"], &[]).status.code(), Some(2));
    std::fs::remove_file(away.path().join("taskwright.toml")).unwrap();
    // Without a token, and without anybody to ask for one.
    let asked = run(&["profiles", "add", "x", "--server", &url], &[]);
    assert_eq!(asked.status.code(), Some(2), "{}", text(&asked));
    assert!(server.stop().success());
}

#[test]
fn a_token_of_a_profile_goes_to_its_own_server_and_to_no_other() {
    let site = Site::new();
    let receiver = crate::receiver::Receiver::start(|_| ("200 OK", String::new()));
    let other = format!("http://127.0.0.1:{}", receiver.port);
    let mut add = site.taskwright(["profiles", "add", "work", "--server", "http://127.0.0.1:1"]);
    assert!(add.env("TASKWRIGHT_TOKEN", "tw_very_secret").output().unwrap().status.success());
    let asked =
        site.taskwright(["queues", "list", "--profile", "work", "--server", &other]).output().unwrap();
    // It asks who it is, and then for what is wanted.
    assert_eq!(receiver.count(), 2, "{}", text(&asked));
    let seen = receiver.take();
    assert!(!format!("{seen:?}").contains("very_secret"), "{seen:?}");
}

#[test]
fn a_token_of_the_environment_goes_to_the_server_that_is_named_and_not_to_that_of_a_profile() {
    let site = Site::new();
    let receiver = crate::receiver::Receiver::start(|_| ("200 OK", String::new()));
    let url = format!("http://127.0.0.1:{}", receiver.port);
    let asked = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = site.taskwright([]);
        command.args(args).envs(variables.iter().copied()).env("TASKWRIGHT_TOKEN", "tw_of_another");
        command.output().unwrap();
        format!("{:?}", receiver.take())
    };
    for (name, token) in [("open", None), ("work", Some("tw_of_this"))] {
        let mut add = site.taskwright(["profiles", "add", name, "--server", &url]);
        match token {
            Some(token) => add.env("TASKWRIGHT_TOKEN", token),
            None => add.arg("--no-token"),
        };
        assert!(add.output().unwrap().status.success());
    }
    assert!(!asked(&["queues", "list", "--profile", "open"], &[]).contains("of_another"));
    assert!(!asked(&["queues", "list"], &[("TASKWRIGHT_PROFILE", "open")]).contains("of_another"));
    let seen = asked(&["queues", "list", "--profile", "work"], &[]);
    assert!(seen.contains("of_this") && !seen.contains("of_another"), "{seen}");
    // Whoever types one means it; and a server that is named by its URL is the one that it is for.
    assert!(asked(&["queues", "list", "--profile", "work", "--token", "tw_typed"], &[]).contains("tw_typed"));
    assert!(asked(&["queues", "list", "--server", &url], &[]).contains("of_another"));
    assert!(asked(&["queues", "list"], &[("TASKWRIGHT_SERVER", &url)]).contains("of_another"));
}

//! An endpoint of the config file is told of what happens for as long as it stands there. Taken out of the file it is disabled, and
//! what it has not been told yet waits for it to come back, or for somebody to remove it.

use std::time::Duration;

use serde_json::Value;

use crate::receiver::Receiver;
use crate::support::Site;

const LIMIT: Duration = Duration::from_secs(60);

fn write(site: &Site, config: &str) {
    std::fs::write(site.path().join("taskwright.toml"), config).unwrap();
}

fn shown(site: &Site, name: &str) -> Value {
    serde_json::from_str(&site.run(["webhooks", "show", name, "--json"])).unwrap()
}

/// Has the config file registered, and nothing done.
fn register(site: &Site) {
    assert!(site.up(["--workers", "0"]).stop().success());
}

#[test]
fn an_endpoint_that_leaves_the_config_file_is_disabled_and_misses_nothing_when_it_comes_back() {
    leaves_and_comes_back(&Site::new());
}

#[cfg(feature = "postgres")]
#[test]
fn an_endpoint_that_leaves_the_config_file_is_disabled_on_postgresql() {
    leaves_and_comes_back(&Site::on_postgres());
}

fn leaves_and_comes_back(site: &Site) {
    let receiver = Receiver::start(|_| ("200 OK", String::new()));
    let section = |name: &str| {
        format!(
            "[webhooks.{name}]\nurl = \"{}\"\ntopics = \"{name}.*\"\nallow_private = true\n",
            receiver.url()
        )
    };
    write(site, &format!("{}{}{}", section("a"), section("b"), section("c")));
    register(site);
    assert_eq!(shown(site, "a")["origin"]["from"], "config");
    let secret = site.run(["webhooks", "rotate", "a"]);
    site.run(["webhooks", "disable", "c", "--reason", "for now"]);

    write(site, "");
    let up = site.up(["--workers", "0"]);
    for name in ["a", "b"] {
        let gone = shown(site, name);
        assert_eq!((&gone["status"], &gone["disabled"]["left_config"]), (&"disabled".into(), &true.into()));
        assert_eq!(gone["disabled"]["backlog"], "park");
    }
    assert_eq!(shown(site, "c")["disabled"]["reason"], "for now", "what somebody did stays as it is");
    site.run(["events", "emit", "a.happened", "--payload", "7"]);
    assert!(up.stop().success());
    // Another file is somebody else's.
    std::fs::write(site.path().join("other.toml"), "").unwrap();
    site.run(["webhooks", "enable", "b"]);
    assert_eq!(shown(site, "b")["origin"]["from"], "by_hand", "who enables it has it as his own");
    register(site);
    assert_eq!(shown(site, "b")["status"], "on");

    write(site, &format!("{}{}", section("a"), section("c")));
    let up = site.start(&mut site.taskwright(["--config", "other.toml", "up", "--workers", "0"]));
    assert_eq!(shown(site, "a")["status"], "disabled");
    assert!(up.stop().success());
    let up = site.up(["--workers", "0"]);
    site.wait_until("what happened meanwhile", LIMIT, || receiver.count() == 1);
    let request = receiver.take().remove(0);
    assert_eq!(request.data(), 7);
    let secret: taskwright::core::webhook::Secret = secret.trim().parse().unwrap();
    let unix_s = request.header("webhook-timestamp").parse().unwrap();
    let signature = secret.sign(request.header("webhook-id"), unix_s, &request.body);
    assert!(request.header("webhook-signature").contains(&signature), "its secret is the same");
    assert_eq!(
        (&shown(site, "a")["status"], &shown(site, "c")["status"]),
        (&"on".into(), &"disabled".into())
    );
    site.run(["webhooks", "remove", "b"]);
    assert!(up.stop().success());
}

//! A receiver can tell that a message is ours; and no message goes where it may not go.

use std::time::Duration;

use taskwright::core::webhook::Secret;

use crate::receiver::{Receiver, Request};
use crate::support::Site;

#[test]
fn webhooks_prove_who_sends() {
    let site = Site::new();
    let receiver = Receiver::start(|_| ("204 No Content", String::new()));
    let url = receiver.url();
    let added = site.run(["webhooks", "add", "a", url.as_str(), "--topic", "order.*", "--allow-private"]);
    let secret: Secret = added.trim().parse().unwrap();
    let up = site.up(["--workers", "0"]);
    let event = site.run(["events", "emit", "order.paid", "--payload", r#"{"order": 7}"#, "--key", "7"]);
    site.wait_until("the message", Duration::from_secs(10), || receiver.count() == 1);
    let request = receiver.take().remove(0);
    assert_eq!(
        (request.header("webhook-id"), request.header("content-type")),
        (event.trim(), "application/json")
    );
    assert_eq!(request.header("webhook-signature"), signature(&secret, &request));
    assert_eq!(request.data(), serde_json::json!({ "order": 7 }));

    let new: Secret = site.run(["webhooks", "rotate", "a"]).trim().parse().unwrap();
    site.run(["events", "emit", "order.paid"]);
    site.wait_until("the next message", Duration::from_secs(10), || receiver.count() == 1);
    let request = receiver.take().remove(0);
    let both = format!("{} {}", signature(&new, &request), signature(&secret, &request));
    assert_eq!(request.header("webhook-signature"), both);

    // Nothing that is printed later has a secret in it.
    for shown in [
        site.run(["webhooks", "list", "--json"]),
        site.run(["webhooks", "show", "a"]),
        site.run(["webhooks", "show", "a", "--json"]),
        site.run(["generators", "show", "webhook:a", "--json"]),
    ] {
        assert!(!shown.contains("whsec_") && !shown.contains(&secret.reveal()[6..]), "{shown}");
    }
    assert!(up.stop().success());
}

fn signature(secret: &Secret, request: &Request) -> String {
    let unix_s = request.header("webhook-timestamp").parse().unwrap();
    secret.sign(request.header("webhook-id"), unix_s, &request.body)
}

#[test]
fn webhooks_go_to_no_private_address_unless_they_may() {
    let site = Site::new();
    let receiver = Receiver::start(|_| ("200 OK", String::new()));
    let local = format!("http://localhost:{}/", receiver.port);
    // One that stands in the URL is seen at once; what a name resolves to, when it is sent.
    site.run(["webhooks", "add", "named", local.as_str()]);
    let literal = receiver.url();
    for refused in [vec!["webhooks", "add", "literal", literal.as_str()], vec!["webhooks", "test", "named"]] {
        let tried = site.taskwright([]).args(refused).output().unwrap();
        let told = String::from_utf8_lossy(&tried.stderr);
        assert!(!tried.status.success() && told.contains("is no public address"), "{told}");
    }
    assert_eq!(receiver.count(), 0, "nothing arrived");
    let url = receiver.url();
    site.run(["webhooks", "add", "allowed", url.as_str(), "--allow-private"]);
    assert!(site.run(["webhooks", "test", "allowed"]).contains("delivered"));
    assert_eq!(receiver.count(), 1);
}

//! A program that brings a trigger rule of its own (`examples/own_trigger.rs`) is a daemon that fires by it.

use std::time::Duration;

use taskwright::core::schedule::Overlap;
use taskwright::core::trigger::Custom;
use taskwright::{Client, Schedule, Trigger};

use crate::support::Site;

#[test]
fn up_fires_by_a_rule_of_the_programs_own() {
    let site = Site::new();
    let client = Client::new(site.shared(), site.env.clone());
    let schedule = |name: &str, rule: &str| {
        Schedule::builder(name.parse().unwrap(), "nobody.runs.this".parse().unwrap())
            .trigger(Trigger::Custom(Custom { name: rule.parse().unwrap(), spec: 300.into() }))
            .overlap(Overlap::Allow)
            .build()
            .unwrap()
    };
    site.ask(async |_| {
        client.schedules().put(&schedule("ours", "doubling")).await.unwrap();
        client.schedules().put(&schedule("theirs", "of-another-program")).await.unwrap();
    });

    let up = site.start(&mut site.program("own_trigger", ["up", "--workers", "1"]));
    site.wait_until("it to fire three times", Duration::from_secs(30), || site.jobs(&[]).len() >= 3);
    assert!(up.stop().success());

    let ours = site
        .ask(async |_| client.schedules().get(&"default".parse().unwrap(), &"ours".parse().unwrap()).await);
    let ours = ours.unwrap().unwrap();
    let firings = site.ask(async |store| store.firings(ours.key, None, 100).await.unwrap());
    let mut after: Vec<u128> =
        firings.iter().map(|firing| firing.due.since(ours.created_at).as_millis()).collect();
    after.sort_unstable();
    assert_eq!(after[..3], [300, 600, 1_200], "when it was due, counted from the registration");
    assert_eq!(site.jobs(&[]).len(), firings.len(), "and nothing fires by a rule that nobody brings");
}

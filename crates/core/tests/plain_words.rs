//! What a trigger is called wherever it is shown.

use taskwright_core::trigger::Trigger;

const TRIGGERS: &str = "\
every 5m
every 1m
every 1s
every 90m
every 100ms
every 1d
cron @hourly
cron @daily
cron @weekly
cron @monthly
cron @yearly
cron @every 15m
cron * * * * *
cron */5 * * * *
cron */7 * * * *
cron 30 * * * *
cron 0 */2 * * *
cron 15 */6 * * *
cron 0 9-17 * * *
cron 30 9-17 * * 1-5
cron */10 8-17 * * 1-5
cron 0 8 * * *
cron 0 8 * * 1-5
cron 0 8 * * 0,6
cron 0 8 * * MON,THU
cron 0 8 * * 2-5
cron 0 8,12,18 * * *
cron 30 15 8 * * *
cron * * * * * *
cron */10 * * * * *
cron 0 3 1 * *
cron 0 3 1,15 * *
cron 0 3 1-7 * *
cron 0 3 L * *
cron 0 3 L-3 * *
cron 0 3 15W * *
cron 0 3 LW * *
cron 0 3 * * 5L
cron 0 3 * * 5#2
cron 0 3 * * MON#1,MON#3
cron 0 3 13 * 5
cron 0 3 1 1 *
cron 0 3 1 JAN,JUL *
cron 0 3 * 6-8 *
cron 0 3 * 6-8 1-5
cron */5 * 24 12 *
cron 0 0 */2 * *
cron 1,2,3,5,8 */5 * * *
cron 0 3 22,23 * 1-5
at 2026-12-24T18:00
at 2026-12-24T18:00:05Z
after 1h
after 1h30m
daily 08:00
daily 23:59:59
monthly 1 08:00
monthly 22 08:00
monthly 30 08:00
monthly 31 03:00
monthly last 03:00
event order.created
event order.* where total > 100 and country in [\"DE\", \"AT\"] and vip exists
";

#[test]
fn every_trigger_has_plain_words() {
    let mut table = String::new();
    for line in TRIGGERS.lines() {
        let (key, text) = line.split_once(' ').unwrap();
        let zone = "Europe/Berlin".parse().unwrap();
        let words = Trigger::read(key, text, Some(zone)).unwrap().describe();
        table.push_str(&format!("{line:<40} {words}\n"));
    }
    insta::assert_snapshot!(table);
}

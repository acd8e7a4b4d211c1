//! What is wrong with a trigger is said at registration, with its place.

use taskwright_core::trigger::Trigger;

/// NU-X5: an invalid cron expression is refused at registration, with a message.
const BAD: &str = "\
cron 
cron *
cron * * * *
cron * * * * * * *
cron 60 * * * *
cron 0 25 * * *
cron 0 0 0 * *
cron 0 0 32 * *
cron 0 0 1 13 *
cron 0 0 * * 8
cron 0 0 * * FOO
cron 0 0 * JANUARY *
cron -5 * * * *
cron 1- * * * *
cron 5-1 * * * *
cron */0 * * * *
cron */x * * * *
cron */ * * * *
cron 1,,2 * * * *
cron 1,2, * * * *
cron 1.5 * * * *
cron ? * * * *
cron 0 0 30 2 *
cron 0 0 31 4,6,9,11 *
cron 0 0 30W 2 *
cron 0 0 L-31 * *
cron 0 0 32W * *
cron 0 0 * * 5#6
cron 0 0 * * #2
cron 0 0 * * L
cron 0 0 * * SAT-MON
cron @fortnightly
cron @every
cron @every 5 minutes
cron 0 8 * * ñ
every 0s
every 99ms
every five
every 11000d
at 2026-02-30T08:00
at 2026-13-01T08:00
at 2026-02-29T08:00:00Z
at tomorrow
at 2026-12-24T25:00
after 11000d
daily 24:00
daily 8
daily 08:60
daily 08:00:00:00
daily 8am
monthly 0 08:00
monthly 32 08:00
monthly 31
monthly first 08:00
event 
event order..created
event order.**.x
event order where total
event order where total ~ 5
event order where total > \"5\"
event order where total > 5 or x exists
event order where a in 5
hourly 5
";

#[test]
fn nu_x5_what_is_wrong_is_said_with_its_place_and_what_is_allowed() {
    let mut table = String::new();
    for line in BAD.lines() {
        let (key, text) = line.split_once(' ').unwrap();
        let error = Trigger::read(key, text, None).expect_err(line);
        table.push_str(&format!("{line}\n    {error}\n    {}\n", error.fix()));
    }
    insta::assert_snapshot!(table);
}

#[test]
fn no_text_makes_the_reader_fall_over() {
    let nasty = [
        "\0",
        "* * * * \u{202e}",
        "🦀 🦀 🦀 🦀 🦀",
        "L L L L L",
        "W W W W W",
        "- - - - -",
        "/ / / / /",
        "# # # # #",
    ];
    for text in
        nasty.into_iter().map(str::to_owned).chain([",".repeat(1_024), "9".repeat(5_000), "*/".repeat(600)])
    {
        for key in taskwright_core::trigger::TRIGGER_KEYS {
            if let Ok(trigger) = Trigger::read(key, &text, None) {
                assert_eq!(key, "event", "{text:?} is no {key}, it is not {trigger:?}");
            }
        }
    }
}

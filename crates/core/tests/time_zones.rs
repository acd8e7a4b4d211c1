//! The rule for wall clocks that skip or repeat a time, against a table written by hand.

use taskwright_core::trigger::{Trigger, TriggerState, next_n};
use taskwright_core::{Timestamp, Zone};

const TABLE: &str = include_str!("data/occurrences.txt");

fn moment(text: &str) -> Timestamp {
    // The table leaves out seconds that are 0.
    let (date_and_time, offset) = text.split_at(text.rfind(['+', '-', 'Z']).unwrap());
    let seconds = if date_and_time.matches(':').count() == 1 { ":00" } else { "" };
    format!("{date_and_time}{seconds}{offset}").parse().unwrap()
}

#[test]
fn every_trigger_fires_when_the_table_says() {
    let mut occurrences = 0;
    let mut zones = std::collections::BTreeSet::new();
    for row in TABLE.lines().filter(|row| !row.is_empty() && !row.starts_with('#')) {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let [zone, trigger, after, expected] = columns[..] else { panic!("four columns: {row}") };
        let (key, text) = trigger.split_once(' ').unwrap();
        let trigger = Trigger::read(key, text, Some(Zone::new(zone).unwrap())).unwrap();
        let expected: Vec<String> = expected.split(' ').map(|due| moment(due).to_string()).collect();
        let state = TriggerState::new(moment(after));
        let found = next_n(&trigger, &state, moment(after), expected.len()).unwrap();
        assert_eq!(found.iter().map(Timestamp::to_string).collect::<Vec<_>>(), expected, "{row}");
        occurrences += expected.len();
        zones.insert(zone);
    }
    assert!(occurrences >= 40 && zones.len() >= 6, "{occurrences} occurrences in {zones:?}");
}

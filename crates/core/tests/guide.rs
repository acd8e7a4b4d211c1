//! The triggers that the guide shows are read, and called, as it says; and its table of permissions is the one in code.

use taskwright_core::trigger::Trigger;

const IDENTITIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/identities.md");
const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/schedules.md");

#[test]
fn each_trigger_of_the_guide_is_called_what_stands_behind_it() {
    let text = std::fs::read_to_string(GUIDE).unwrap();
    let examples = text.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    let mut count = 0;
    for line in examples.lines() {
        let (assignment, words) = line.rsplit_once(" # ").unwrap();
        let (key, quoted) = assignment.trim().split_once(" = ").unwrap();
        let text = quoted.trim_matches(quoted.chars().next().unwrap());
        assert_eq!(Trigger::read(key, text, None).unwrap().describe(), words, "{line}");
        count += 1;
    }
    assert!(count > 10);
}

#[test]
fn the_permissions_of_the_guide_are_those_that_are_decided_by() {
    let page = std::fs::read_to_string(IDENTITIES).unwrap();
    let (begin, end) = ("<!-- permissions: made from the code -->\n", "<!-- end of permissions -->");
    let (before, rest) = page.split_once(begin).unwrap();
    let (shown, after) = rest.split_once(end).unwrap();
    let table = taskwright_core::permission::table();
    if std::env::var_os("TASKWRIGHT_UPDATE_DOCS").is_some() {
        std::fs::write(IDENTITIES, format!("{before}{begin}{table}{end}{after}")).unwrap();
        return;
    }
    assert!(shown == table, "{IDENTITIES} is not up to date: run this test with TASKWRIGHT_UPDATE_DOCS=1");
}

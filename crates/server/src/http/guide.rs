//! The parts of `docs/guide/http.md` that come from the table: a test compares them, and writes them when
//! `TASKWRIGHT_UPDATE_DOCS` is set.

use std::fmt::Write as _;
use std::path::Path;

use http::StatusCode;
use taskwright_core::{Namespace, Permission, Timestamp};
use taskwright_store::QueueView;

use super::metrics::{Metrics, Seen};
use super::operation::Access;
use super::operations::table;
use super::problem::Sort;

/// What the page is, from the root of the repository.
const PAGE: &str = "docs/guide/http.md";

fn operations() -> String {
    let mut text = String::from("| operation | | needs | what |\n|---|---|---|---|\n");
    for operation in table() {
        let needs = match operation.access {
            Access::Anyone => "nothing".to_owned(),
            Access::Known => "to be known".to_owned(),
            Access::Needs(permission) => format!("`{permission}`"),
            Access::NeedsOwn(permission) => format!("`{permission}`, own"),
        };
        let (id, method, path, about) = (operation.id, &operation.method, operation.path, operation.about);
        writeln!(text, "| {id} | `{method} {path}` | {needs} | {about} |").unwrap();
    }
    text
}

fn problems() -> String {
    let mut text = String::from("| type | status | title |\n|---|---|---|\n");
    for sort in Sort::ALL {
        writeln!(text, "| `{}` | {} | {} |", sort.type_uri(), sort.status().as_u16(), sort.title()).unwrap();
    }
    text
}

/// What `/metrics` tells of a queue, and of one request.
fn metrics() -> String {
    let metrics = Metrics::new(0);
    metrics.answered("jobs.list", StatusCode::OK, 1_000);
    let queue = QueueView {
        namespace: Namespace::default(),
        name: "default".parse().unwrap(),
        paused: false,
        available: 1,
        running: 1,
        waiting: 1,
        oldest_available: None,
    };
    let now = Timestamp::from_micros(0);
    let seen = Seen { queues: &[queue], workers: &[], now, monotonic_us: 0, streams: 0 };
    let told = metrics.text(&seen).unwrap();
    let mut text = String::from("| metric | type | labels | what |\n|---|---|---|---|\n");
    for described in told.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, what) = described.split_once(' ').unwrap();
        let begins = format!("# TYPE {name} ");
        let sort = told.lines().find_map(|line| line.strip_prefix(&begins)).unwrap();
        let labels = labels(&told, name);
        let what = what.trim_end_matches('.');
        writeln!(text, "| `{name}` | {sort} | {labels} | {what} |").unwrap();
    }
    text
}

/// The labels of a metric, but for those that every histogram has.
fn labels(told: &str, name: &str) -> String {
    let sample = told.lines().find(|line| line.starts_with(name)).unwrap();
    let labels =
        sample.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
    let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label);
    let names: Vec<String> = names.filter(|name| *name != "le").map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The page with this part between its marks.
fn with_part(page: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: made from the code -->\n"), format!("<!-- end of {name} -->"));
    let from = page.find(&begin).unwrap_or_else(|| panic!("{PAGE} lacks {begin:?}")) + begin.len();
    let to = from + page[from..].find(&end).unwrap_or_else(|| panic!("{PAGE} lacks {end:?}"));
    format!("{}{part}{}", &page[..from], &page[to..])
}

#[test]
fn the_guide_says_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap();
    let parts = [("metrics", metrics()), ("operations", operations()), ("problems", problems())];
    let told = parts.iter().fold(page.clone(), |page, (name, part)| with_part(&page, name, part));
    if std::env::var_os("TASKWRIGHT_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &told).unwrap();
        return;
    }
    assert!(told == page, "{PAGE} is not up to date: run this test with TASKWRIGHT_UPDATE_DOCS=1");
}

#[test]
fn each_permission_is_needed_by_some_operation() {
    let needed = |permission: &Permission| {
        table().iter().any(|operation| operation.access.permission() == Some(*permission))
    };
    // Which commands a job may run is held against each job, and so is which kinds and queues are Taskwright's own.
    let of_objects = [Permission::CommandsRun, Permission::ReservedUse];
    let needed = |permission: &Permission| of_objects.contains(permission) || needed(permission);
    let idle: Vec<_> = Permission::ALL.iter().filter(|permission| !needed(permission)).collect();
    assert!(idle.is_empty(), "{idle:?}");
}

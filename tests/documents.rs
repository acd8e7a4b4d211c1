//! What the README and the guide tell people to type, typed as it stands there, against the real binary.
//!
//! Every document has a test and an empty directory of its own, and is followed from top to bottom:
//!
//! - In a ```` ```console ```` block a line that starts with `$ ` is typed, and one that starts with `> ` right behind it
//!   continues it; `? 4` says which exit code it must have (0 unless said); the rest is what it must print: `[..]` is
//!   anything within a line, `...` is any number of lines. What ends with `&` goes on in the background until the end of
//!   the document, and prints when it likes.
//! - A ```` ```toml ```` block stands behind a line that ends with "to `FILE`:", and is written to that file.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the guide is, from the root of the repository.
const GUIDE: &str = "docs/guide";
/// Its pages that are followed here.
const FOLLOWED: [&str; 16] = [
    "index.md",
    "start.md",
    "recipes.md",
    "jobs.md",
    "bulk.md",
    "schedules.md",
    "webhooks.md",
    "identities.md",
    "commands.md",
    "config.md",
    "http.md",
    "operating.md",
    "services.md",
    "testing.md",
    "upgrading.md",
    "moving.md",
];
/// Pages that are taken care of elsewhere: what one tells is measured by `benches/ha/run`, the Rust of one is compiled with
/// the crate that it is about, one needs a server, below, and the triggers of one are read in the tests of `core`.
const ELSEWHERE: [&str; 3] = ["growing.md", "library.md", "postgresql.md"];
/// The table of contents of the guide as a book.
const SUMMARY: &str = "SUMMARY.md";

/// How long a document may take, in seconds: what hangs is ended then.
const SECONDS_MAX: u32 = 240;

#[test]
fn the_tour_of_the_readme_works_as_it_stands_there() {
    let text = read("README.md");
    let tour = text.split("## Five minutes").nth(1).unwrap().split("\n## ").next().unwrap();
    assert!(follow(tour) > 20);
}

#[cfg(feature = "postgres")]
#[test]
fn the_tour_of_the_readme_works_on_postgresql() {
    let database = crate::support::cluster::Cluster::shared().database();
    let text = read("README.md");
    let tour = text.split("## Five minutes").nth(1).unwrap().split("\n## ").next().unwrap();
    // There is no file that holds the process id of `up`, and another store.
    let tour = tour
        .replace("$(cat .taskwright/taskwright.db-run/up.lock)", "$!")
        .replace("store    sqlite:[..]/.taskwright/taskwright.db", "store    postgres://[..]");
    assert!(follow_with(&tour, &[("TASKWRIGHT_STORE", &database.url()), ("TASKWRIGHT_RUN_DIR", "run")]) > 20);
}

#[test]
fn the_index_of_the_guide_works_as_it_stands_there() {
    follow(&read("docs/guide/index.md"));
}

#[test]
fn the_first_five_minutes_work_as_they_stand_there() {
    let page = read("docs/guide/start.md");
    let (binary, rust) = page.split_once("## The same from Rust").unwrap();
    assert!(follow(binary) > 8);
    // The program is an example, so that it is built with the tests; its head says so.
    let program = read("crates/server/examples/five_minutes.rs");
    let (_, code) = program.split_once("\n\n").unwrap();
    assert!(rust.contains(&format!("```rust,no_run\n{code}```")));
    let program = crate::support::example("five_minutes");
    assert!(follow(&rust.replace("target/debug/hello", program.to_str().unwrap())) > 6);
}

#[test]
fn the_recipes_work_as_they_stand_there() {
    assert!(follow(&at_a_free_port(&read("docs/guide/recipes.md"))) > 60);
}

#[test]
fn the_page_about_tests_works_as_it_stands_there() {
    assert!(follow(&read("docs/guide/testing.md")) >= 5);
}

#[test]
fn the_page_about_upgrading_works_as_it_stands_there() {
    assert!(follow(&read("docs/guide/upgrading.md")) > 15);
}

#[test]
fn the_page_for_those_who_move_here_works_as_it_stands_there() {
    assert!(follow(&read("docs/guide/moving.md")) >= 3);
}

#[test]
fn the_page_about_jobs_works_as_it_stands_there() {
    assert!(follow(&read("docs/guide/jobs.md")) > 20);
}

#[test]
fn the_page_about_bulk_jobs_works_as_it_stands_there() {
    assert!(follow(&read("docs/guide/bulk.md")) > 15);
}

#[test]
fn the_page_about_schedules_works_as_it_stands_there() {
    assert!(follow(&read("docs/guide/schedules.md")) > 20);
}

#[test]
fn the_page_about_webhooks_works_as_it_stands_there() {
    assert!(follow(&read("docs/guide/webhooks.md")) > 10);
}

#[test]
fn the_page_about_identities_works_as_it_stands_there() {
    assert!(follow(&read("docs/guide/identities.md")) > 15);
}

#[test]
fn the_page_about_commands_works_as_it_stands_there() {
    assert!(follow(&read("docs/guide/commands.md")) > 20);
}

#[test]
fn the_page_about_the_config_file_works_as_it_stands_there() {
    assert!(follow(&read("docs/guide/config.md")) > 5);
}

#[test]
fn the_page_about_http_works_as_it_stands_there() {
    assert!(follow(&at_a_free_port(&read("docs/guide/http.md"))) > 10);
}

#[test]
fn the_page_about_operating_works_as_it_stands_there() {
    assert!(follow(&read("docs/guide/operating.md")) > 10);
}

#[test]
fn the_page_about_services_works_as_it_stands_there() {
    assert!(follow(&read("docs/guide/services.md")) >= 4);
}

#[cfg(feature = "postgres")]
#[test]
fn the_page_about_postgresql_works_as_it_stands_there() {
    use crate::support::cluster::{Cluster, Flavour};
    // A server of its own, as the page names its database and its role; they are removed with it.
    let purpose = Box::leak(format!("the guide {}", std::process::id()).into_boxed_str());
    let server = Cluster::start(Flavour { idle_seconds_max: 1, purpose, ..Flavour::DURABLE });
    let host = server.socket().parent().unwrap().to_str().unwrap().to_owned();
    let path = format!("{}:{}", server.programs().display(), std::env::var("PATH").unwrap());
    let variables =
        [("PGHOST", host.as_str()), ("PGUSER", "postgres"), ("PATH", &path), ("TASKWRIGHT_RUN_DIR", "run")];
    assert!(follow_with(&read("docs/guide/postgresql.md"), &variables) > 15);
}

#[test]
fn no_page_of_the_guide_is_left_out_here() {
    let mut pages: Vec<String> = std::fs::read_dir(root().join(GUIDE))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    let mut known = [FOLLOWED.as_slice(), ELSEWHERE.as_slice(), &[SUMMARY]].concat();
    known.sort_unstable();
    assert_eq!(pages, known);
}

#[test]
fn the_book_has_every_page_of_the_guide_once() {
    let summary = read(&format!("{GUIDE}/{SUMMARY}"));
    let mut listed = links(&summary);
    listed.sort();
    let mut pages: Vec<String> = FOLLOWED.into_iter().chain(ELSEWHERE).map(str::to_owned).collect();
    pages.sort();
    assert_eq!(listed, pages);
    assert!(read("docs/book.toml").contains("src = \"guide\""));
}

#[test]
fn no_link_leaves_the_book_and_what_is_named_besides_is_there() {
    for page in FOLLOWED.into_iter().chain(ELSEWHERE) {
        let text = read(&format!("{GUIDE}/{page}"));
        for target in links(&text).iter().filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap();
            let is_page = file.is_empty() || FOLLOWED.contains(&file) || ELSEWHERE.contains(&file);
            assert!(is_page, "{page} links to {target}, which is no page of the book: name it as `path`");
        }
        let prose = prose(&text);
        let paths = prose.split('`').skip(1).step_by(2).filter(|code| {
            ["docs/", "benches/", "examples/", "crates/"].iter().any(|place| code.starts_with(place))
        });
        for path in paths {
            assert!(root().join(path).exists(), "{page} names `{path}`");
        }
    }
}

#[test]
fn every_link_of_every_document_leads_to_a_file_and_to_a_heading_in_it() {
    let mut headings = HashMap::new();
    let mut wrong = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in links(&text).into_iter().filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            let is_there = path.exists()
                && (anchor.is_empty()
                    || headings.entry(path.clone()).or_insert_with(|| headings_of(&path)).contains(anchor));
            if !is_there {
                wrong.push(format!("{}: {target}", document.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What there is to read in the repository.
fn documents() -> Vec<PathBuf> {
    let of = |directory: &str| {
        let entries = std::fs::read_dir(root().join(directory)).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "md"))
    };
    let mut all: Vec<PathBuf> =
        ["", "docs", GUIDE, "docs/design", "examples", "examples/shop"].into_iter().flat_map(of).collect();
    all.sort();
    assert!(all.len() > 50);
    all
}

/// The text without its blocks of code.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Where its links lead.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
}

/// The anchors of its headings, as mdBook and the forges make them.
fn headings_of(path: &Path) -> BTreeSet<String> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let text = std::fs::read_to_string(path).unwrap();
    let prose = prose(&text);
    let titles =
        prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    titles
        .map(|title| {
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect();
            let before = seen.entry(anchor.clone()).or_default();
            *before += 1;
            if *before == 1 { anchor } else { format!("{anchor}-{}", *before - 1) }
        })
        .collect()
}

/// Others may have the port of a page: it is followed on one that is free.
fn at_a_free_port(page: &str) -> String {
    let told = "$ URL=http://127.0.0.1:7411\n";
    assert!(page.contains(told));
    page.replace(told, "$ URL=$(sed -n 's/^  http  *//p' background.log)\n")
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn read(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// Does what a document says, in an empty directory; gives the number of commands.
fn follow(text: &str) -> usize {
    follow_with(text, &[])
}

/// The same, with more variables in the environment.
fn follow_with(text: &str, variables: &[(&str, &str)]) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let steps = steps(text);
    let transcript = type_in(directory.path(), &steps, variables);
    for (number, step) in steps.iter().enumerate() {
        let (output, code) = result_of(&transcript, number);
        assert_eq!(code, step.code, "$ {}\n{output}", step.command);
        if !step.in_background() {
            let printed: Vec<&str> = output.lines().collect();
            assert!(
                matches(&step.output, &printed),
                "$ {}\n{output}\nexpected\n{}",
                step.command,
                step.output.join("\n")
            );
        }
    }
    steps.len()
}

/// Something to type, and what must come of it.
#[derive(Default)]
struct Step {
    command: String,
    code: i32,
    output: Vec<String>,
}

impl Step {
    fn in_background(&self) -> bool {
        self.command.ends_with('&')
    }
}

/// All that a document tells to do, in order.
fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut lines = text.lines();
    let mut before = "";
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            match language {
                "console" => steps.extend(console(&block)),
                "toml" => steps.push(write(&block, before)),
                _ => {}
            }
        } else if !line.trim().is_empty() {
            before = line;
        }
    }
    steps
}

fn console(block: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), ..Step::default() });
            continue;
        }
        let step = steps.last_mut().expect("a block begins with `$ `");
        if let Some(more) = line.strip_prefix("> ").filter(|_| step.output.is_empty()) {
            step.command.push('\n');
            step.command.push_str(more);
        } else if let Some(code) = line.strip_prefix("? ") {
            step.code = code.parse().unwrap();
        } else {
            step.output.push((*line).to_owned());
        }
    }
    steps
}

/// Writes the file that the line before the block names.
fn write(block: &[&str], before: &str) -> Step {
    let named = before.strip_suffix("`:").and_then(|line| line.rsplit_once("to `"));
    let (_, file) = named.unwrap_or_else(|| panic!("the line {before:?} does not name the file below it"));
    let text = block.join("\n");
    Step { command: format!("cat > {file} <<'END OF FILE'\n{text}\nEND OF FILE"), ..Step::default() }
}

/// Types everything into one shell; each result is between two markers.
fn type_in(directory: &Path, steps: &[Step], variables: &[(&str, &str)]) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_taskwright"));
    let given = variables.iter().find(|(name, _)| *name == "PATH").map(|(_, path)| (*path).to_owned());
    let path = given.unwrap_or_else(|| std::env::var("PATH").unwrap());
    let path = format!("{}:{path}", binary.parent().unwrap().display());
    // Messages are part of what a person sees.
    let mut script = String::from("exec 2>&1\n");
    for (number, step) in steps.iter().enumerate() {
        if step.in_background() {
            // Up when it says so, as a person would wait for it.
            let command = step.command.trim_end_matches('&');
            script.push_str(&format!(
                ": > background.log; {command} >> background.log 2>&1 &\n\
                 until grep -q Ctrl-C background.log; do sleep 0.05; done\n"
            ));
        } else {
            script.push_str(&format!("{}\n", step.command));
        }
        script.push_str(&format!("echo \"@@ {number} $?\"\n"));
    }
    script.push_str("kill $(jobs -p) 2>/dev/null\nwait\n");
    let mut shell = Command::new("timeout")
        .args(["--kill-after=5", &SECONDS_MAX.to_string(), "bash", "-s"])
        .current_dir(directory)
        .env("USER", "alice")
        .env_remove("TASKWRIGHT_STORE")
        .env("XDG_CONFIG_HOME", directory.join("config"))
        .env_remove("TASKWRIGHT_CONFIG")
        .env_remove("TASKWRIGHT_RUN_DIR")
        // Several documents are followed at the same time, and a port is there once.
        .env("TASKWRIGHT_LISTEN", "127.0.0.1:0")
        .envs(variables.iter().copied())
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn result_of(transcript: &str, number: usize) -> (String, i32) {
    let mark = |number: usize| format!("@@ {number} ");
    let before = match number {
        0 => transcript,
        _ => transcript
            .split(&mark(number - 1))
            .nth(1)
            .map_or("", |rest| rest.split_once('\n').map_or("", |(_, rest)| rest)),
    };
    let (output, rest) = before
        .split_once(&mark(number))
        .unwrap_or_else(|| panic!("step {number} did not end:\n{transcript}"));
    (output.to_owned(), rest.lines().next().unwrap().trim().parse().unwrap())
}

/// Whether the lines are as expected.
fn matches(expected: &[String], printed: &[&str]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == "..." => {
            (0..=printed.len()).any(|skip| matches(rest, &printed[skip..]))
        }
        Some((line, rest)) => printed
            .split_first()
            .is_some_and(|(first, others)| line_matches(line, first) && matches(rest, others)),
    }
}

fn line_matches(expected: &str, printed: &str) -> bool {
    let mut parts = expected.split("[..]");
    let Some(mut rest) = printed.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

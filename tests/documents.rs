//! The README's five minutes, typed as they stand there, in an empty directory, against the real binary.
//!
//! In a ```` ```console ```` block a line that starts with `$ ` is typed; `? 4` says which exit code it must have (0 unless said);
//! the rest is what it must print: `[..]` is anything within a line, `...` is any number of lines.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../README.md");

struct Step {
    command: String,
    code: i32,
    output: Vec<String>,
}

#[test]
fn the_tour_of_the_readme_works_as_it_stands_there() {
    let directory = tempfile::tempdir().unwrap();
    let tour = README.split("## Five minutes").nth(1).unwrap().split("\n## ").next().unwrap();
    std::fs::write(directory.path().join("taskwright.toml"), blocks(tour, "toml").concat()).unwrap();
    let steps: Vec<Step> = blocks(tour, "console").iter().flat_map(|block| steps(block)).collect();
    assert!(steps.len() > 20, "{}", steps.len());

    let transcript = type_in(directory.path(), &steps);
    for (number, step) in steps.iter().enumerate() {
        let (output, code) = result_of(&transcript, number);
        assert_eq!(code, step.code, "$ {}\n{output}", step.command);
        // What runs in the background prints when it likes.
        if !step.command.ends_with('&') {
            let printed: Vec<&str> = output.lines().collect();
            assert!(
                matches(&step.output, &printed),
                "$ {}\n{output}\nexpected\n{}",
                step.command,
                step.output.join("\n")
            );
        }
    }
}

/// The contents of the fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { command: command.to_owned(), code: 0, output: Vec::new() });
        } else if let Some(code) = line.strip_prefix("? ") {
            steps.last_mut().unwrap().code = code.parse().unwrap();
        } else {
            steps.last_mut().unwrap().output.push(line.to_owned());
        }
    }
    steps
}

/// Types everything into one shell; each result is between two markers.
fn type_in(directory: &Path, steps: &[Step]) -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_taskwright"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut script = String::from("trap 'pkill -P $$ 2>/dev/null' EXIT\n");
    for (number, step) in steps.iter().enumerate() {
        if let Some(command) = step.command.strip_suffix('&') {
            // Up when it says so, as a person would wait for it.
            script.push_str(&format!(
                "{command} > up.log 2>&1 &\nuntil grep -q Ctrl-C up.log; do sleep 0.05; done\n"
            ));
        } else {
            script.push_str(&format!("{}\n", step.command));
        }
        script.push_str(&format!("echo \"@@ {number} $?\"\n"));
    }
    script.push_str("wait\n");
    let mut shell = Command::new("bash")
        .arg("-s")
        .current_dir(directory)
        .env("PATH", path)
        .env_remove("TASKWRIGHT_STORE")
        .env_remove("TASKWRIGHT_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    // Messages are part of what a person sees.
    let script = format!("exec 2>&1\n{script}");
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

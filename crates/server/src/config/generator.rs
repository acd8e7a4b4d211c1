//! `[generators.NAME]`: what is asked for work at run time, or looks after the work of others.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use taskwright::source::Pattern;
use taskwright_core::deadline::{Action, Deadline, Watched};
use taskwright_core::limit::{GENERATOR_WINDOW_MAX, RESCAN_MIN, SOURCE_SPAN_MAX};
use taskwright_core::trigger::TopicPattern;
use taskwright_core::{GeneratorName, Namespace, Priority};

use super::TaskConfig;
use super::reader::Section;
use super::source::{directory, patterns_as_text};
use super::task::job_settings;
use super::template::Template;
use crate::error::Error;
use crate::exec;
use crate::schedule::JobSettings;

/// A generator of the config file.
#[derive(Clone, Debug, Serialize)]
pub struct GeneratorConfig {
    /// The tenant of its items, or of the jobs that it looks after.
    pub namespace: Namespace,
    /// Events of these topics have it asked at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicPattern>,
    /// What it is.
    #[serde(flatten)]
    pub of: GeneratorOf,
}

/// What a generator of the config file is.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum GeneratorOf {
    /// Every file under a path becomes an item.
    Directory(DirectoryConfig),
    /// Jobs that take too long are ended, or hurried.
    Deadline(DeadlineConfig),
}

/// `type = "directory"`.
#[derive(Clone, Debug, Serialize)]
pub struct DirectoryConfig {
    /// The directory; relative to the config file's.
    pub path: PathBuf,
    /// Whether directories inside it count.
    pub recursive: bool,
    /// Which files count; none for all that do not begin with a dot.
    #[serde(serialize_with = "patterns_as_text")]
    pub glob: Vec<Pattern>,
    /// How long a file must not have been changed before it counts.
    #[serde(serialize_with = "duration_as_text")]
    pub debounce: Duration,
    /// The time between two walks.
    #[serde(serialize_with = "duration_as_text")]
    pub rescan: Duration,
    /// What is done with a file.
    #[serde(flatten)]
    pub work: Work,
    /// Items that are made and not over, at most.
    pub window: Option<u32>,
    /// What else is said about the jobs.
    #[serde(skip)]
    pub(crate) jobs: JobSettings,
}

/// What is done with a file.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// A job of this task, whose arguments are these besides those of the file.
    Task {
        /// The task.
        name: String,
        /// The arguments.
        args: Map<String, Value>,
    },
    /// This command.
    Command(Vec<Template>),
}

/// `type = "deadline"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadlineConfig {
    /// The rule.
    #[serde(serialize_with = "rule_as_text")]
    pub rule: Deadline,
    /// Of these tasks; none for all. A `*` stands for anything.
    pub kinds: Vec<String>,
    /// Of these queues; none for all. A `*` stands for anything.
    pub queues: Vec<String>,
}

impl fmt::Display for GeneratorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            GeneratorOf::Directory(of) => {
                let globs = of.glob.iter().map(|glob| format!(" {glob}")).collect::<String>();
                let work = match &of.work {
                    Work::Task { name, .. } => name.clone(),
                    Work::Command(argv) => argv.first().map(ToString::to_string).unwrap_or_default(),
                };
                write!(f, "{}{globs} -> {work}", of.path.display())
            }
            GeneratorOf::Deadline(of) => write!(f, "deadline: {}", rule_in_words(&of.rule)),
        }
    }
}

/// Reads one section; `None` when it does not say what it is.
pub(super) fn read(
    name: &str,
    section: &Section<'_>,
    tasks: &BTreeMap<String, TaskConfig>,
) -> Option<GeneratorConfig> {
    if let Err(error) = GeneratorName::new(name) {
        section.tell_here(format!("the generator {name:?}"), error.why(), error.fix());
    }
    let namespace = section.parsed("namespace", "a name", |text| Ok(text.parse()?)).unwrap_or_default();
    let topic = |text: &str| Ok(TopicPattern::new(text)?);
    let topics = section.text_or_list("topics", "a topic like \"order.created\", or a list of them", topic);
    let kind = section.parsed("type", "\"directory\" or \"deadline\"", |text| match text {
        "directory" | "deadline" => Ok(text.to_owned()),
        _ => {
            Err(Error::usage("the type", "there is no such generator", "write \"directory\" or \"deadline\""))
        }
    });
    let of = match kind.as_deref() {
        Some("directory") => read_directory(name, section, tasks).map(GeneratorOf::Directory),
        Some(_) => read_deadline(name, section).map(GeneratorOf::Deadline),
        None => {
            if !section.has("type") {
                let what = format!("[generators.{name}] has no `type`");
                section.tell_here(
                    what,
                    "there are several kinds of generators",
                    "add type = \"directory\" or type = \"deadline\"",
                );
            }
            return None;
        }
    };
    section.finish();
    Some(GeneratorConfig { namespace, topics: topics.unwrap_or_default(), of: of? })
}

fn read_directory(
    name: &str,
    section: &Section<'_>,
    tasks: &BTreeMap<String, TaskConfig>,
) -> Option<DirectoryConfig> {
    let path = section.parsed("path", "the path of a directory", directory);
    if !section.has("path") {
        let what = format!("[generators.{name}] has no `path`");
        section.tell_here(what, "it is about the files of a directory", "add path = \"DIRECTORY\"");
    }
    let glob = |text: &str| Ok(Pattern::new(text)?);
    let config = DirectoryConfig {
        path: path.clone().unwrap_or_default(),
        recursive: section.flag("recursive").unwrap_or(true),
        glob: section
            .text_or_list("glob", "a glob like \"*.csv\", or a list of them", glob)
            .unwrap_or_default(),
        debounce: section.span("debounce", Duration::ZERO, SOURCE_SPAN_MAX).unwrap_or(Duration::from_secs(2)),
        rescan: section.span("rescan", RESCAN_MIN, SOURCE_SPAN_MAX).unwrap_or(Duration::from_secs(60)),
        work: work(name, section, tasks)?,
        window: section.whole("window", 1, GENERATOR_WINDOW_MAX),
        jobs: job_settings(section),
    };
    if section.has("queue") {
        let why = "its jobs wait in a queue of its own";
        section.tell_at("queue", format!("`queue` in [generators.{name}]"), why, "remove it");
    }
    path.is_some().then_some(config)
}

/// Either `task`, with `args`, or `command`.
fn work(name: &str, section: &Section<'_>, tasks: &BTreeMap<String, TaskConfig>) -> Option<Work> {
    let task = section.parsed("task", "the name of a task", |text| Ok(text.to_owned()));
    let args = section.has("args").then(|| section.table_as_json("args").unwrap_or_default());
    let command = section.list("command", "a list of strings", Template::parse);
    let tell = |why: &str, fix: &str| section.tell_here(format!("[generators.{name}]"), why, fix);
    match (task, command) {
        (Some(_), Some(_)) => tell("it has both `task` and `command`", "remove one of the two"),
        (None, Some(_)) if args.is_some() => {
            tell("`args` is only of use with `task`", "put them into `command`");
        }
        (None, Some(argv)) => {
            let known = ["path", "name", "size"];
            let stray = argv.iter().flat_map(Template::names).find(|name| !known.contains(name));
            match stray {
                Some(stray) => section.tell_at(
                    "command",
                    format!("`{{{stray}}}` in `command` of [generators.{name}]"),
                    "a file has a path, a name and a size",
                    "write {path}, {name} or {size}",
                ),
                None if argv.is_empty() => section.tell_at(
                    "command",
                    format!("`command` in [generators.{name}]"),
                    "it is empty",
                    "write command = [\"PROGRAM\", \"{path}\"]",
                ),
                None => return Some(Work::Command(argv)),
            }
        }
        (Some(task), None) => {
            let args = args.unwrap_or_default();
            let mut whole = args.clone();
            for (key, value) in [("path", "p".into()), ("name", "n".into()), ("size", 0.into())] {
                whole.insert(key.to_owned(), value);
            }
            let checked = tasks.get(&task).map_or(Ok(()), |known| known.check_args(&Value::Object(whole)));
            match checked {
                Ok(()) if task == exec::KIND => tell(
                    "`exec` needs a command",
                    "write command = [\"PROGRAM\", \"{path}\"] instead of `task`",
                ),
                Ok(()) => return Some(Work::Task { name: task, args }),
                Err(error) => {
                    let report = &error.reports()[0];
                    section.tell_at(
                        "task",
                        report.what.clone(),
                        &report.why,
                        "give it in `args`: a file gives path, name and size",
                    );
                }
            }
        }
        (None, None) if !section.has("task") && !section.has("command") => {
            tell(
                "it does not say what is done with a file",
                "add command = [\"sha256sum\", \"{path}\"], or task = \"NAME\"",
            );
        }
        (None, None) => {}
    }
    None
}

fn read_deadline(name: &str, section: &Section<'_>) -> Option<DeadlineConfig> {
    let watched = section.parsed("state", "\"running\" or \"waiting\"", |text| match text {
        "running" => Ok(Watched::Running),
        "waiting" => Ok(Watched::Waiting),
        _ => Err(Error::usage(
            "the state",
            "jobs are held to a deadline while they are `running` or `waiting`",
            "write one of the two",
        )),
    });
    let after = section.duration("after");
    let priority = section.parsed_or_number("priority", "a band like \"high\", or a whole number", |text| {
        Ok(text.parse::<Priority>()?)
    });
    let word =
        section.parsed("action", "\"fail\", \"cancel\", \"drop\" or \"escalate\"", |text| match text {
            "fail" | "cancel" | "drop" | "escalate" => Ok(text.to_owned()),
            _ => Err(Error::usage(
                "the action",
                "there is no such action",
                "write \"fail\", \"cancel\", \"drop\" or \"escalate\"",
            )),
        });
    let texts = |key| {
        let texts = section.text_or_list(key, "a name, or a list of names", |text| Ok(text.to_owned()));
        if texts.as_ref().is_some_and(Vec::is_empty) {
            // An empty list means all to a store.
            section.tell_at(
                key,
                format!("`{key}` in [generators.{name}]"),
                "it is empty, so that no job would be held to the deadline",
                "name one or more, or remove it so that the deadline is for all",
            );
        }
        texts.unwrap_or_default()
    };
    let (kinds, queues) = (texts("kinds"), texts("queues"));
    for (key, has) in
        [("state", section.has("state")), ("after", section.has("after")), ("action", section.has("action"))]
    {
        if !has {
            let what = format!("[generators.{name}] has no `{key}`");
            section.tell_here(
                what,
                "a deadline says what becomes of which jobs after how long",
                "write for instance state = \"running\", after = \"1h\", action = \"fail\"",
            );
        }
    }
    let (watched, after, word) = (watched?, after?, word?);
    let action = match (word.as_str(), priority) {
        ("fail", None) => Action::Fail,
        ("cancel", None) => Action::Cancel,
        ("drop", None) => Action::Drop,
        ("escalate", Some(priority)) => Action::Escalate(priority),
        ("escalate", None) => {
            section.tell_at(
                "action",
                format!("`action` in [generators.{name}]"),
                "it does not say which priority they get",
                "add priority = \"high\"",
            );
            return None;
        }
        _ => {
            section.tell_at(
                "priority",
                format!("`priority` in [generators.{name}]"),
                "it is only of use with action = \"escalate\"",
                "remove it",
            );
            return None;
        }
    };
    match (Deadline { watched, after, action }).checked() {
        Ok(rule) => Some(DeadlineConfig { rule, kinds, queues }),
        Err(error) => {
            section.tell_at(
                "action",
                format!("the deadline of [generators.{name}]"),
                error.why(),
                error.fix(),
            );
            None
        }
    }
}

fn rule_in_words(rule: &Deadline) -> String {
    let state = match rule.watched {
        Watched::Running => "running",
        Watched::Waiting => "waiting",
    };
    let action = match rule.action {
        Action::Fail => "fail".to_owned(),
        Action::Cancel => "cancel".to_owned(),
        Action::Drop => "drop".to_owned(),
        Action::Escalate(priority) => format!("escalate to {priority}"),
    };
    format!("{action} what is {state} for {}", crate::text::duration(rule.after))
}

fn rule_as_text<S: serde::Serializer>(rule: &Deadline, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&rule_in_words(rule))
}

fn duration_as_text<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&crate::text::duration(*duration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<GeneratorConfig, Vec<String>> {
        let text = format!(
            "[tasks.hash]\ncommand = \"sha256sum\"\nargs = [\"{{path}}\", \"{{to}}\"]\n[generators.a]\n{text}"
        );
        let parsed = Config::parse("taskwright.toml", &text);
        let problems =
            |error: Error| error.reports().iter().map(|one| format!("{}: {}", one.what, one.why)).collect();
        parsed.map(|config| config.generators["a"].clone()).map_err(problems)
    }

    #[test]
    fn a_directory_has_its_defaults_and_a_command_or_a_task() {
        let read =
            parse("type = \"directory\"\npath = \"in\"\ncommand = [\"sha256sum\", \"{path}\"]").unwrap();
        let GeneratorOf::Directory(of) = read.of else { panic!("a directory") };
        assert_eq!((of.path, of.recursive, of.window), ("in".into(), true, None));
        assert_eq!((of.debounce, of.rescan), (Duration::from_secs(2), Duration::from_secs(60)));
        assert!(matches!(of.work, Work::Command(argv) if argv.len() == 2));
        let text = "type = \"directory\"\npath = \"in\"\ntask = \"hash\"\nargs = { to = \"out\" }\nglob = [\"*.bin\"]\n\
                    window = 9\nrescan = \"5s\"\nnamespace = \"shop\"\ntopics = \"in.*\"\nmax_attempts = 2\npriority = \"idle\"";
        let read = parse(text).unwrap();
        assert_eq!((read.namespace.as_str(), read.topics.len()), ("shop", 1));
        let GeneratorOf::Directory(of) = read.of else { panic!("a directory") };
        assert!(matches!(of.work, Work::Task { name, args } if name == "hash" && args["to"] == "out"));
        assert_eq!((of.window, of.jobs.priority), (Some(9), Some(Priority::IDLE)));
    }

    #[test]
    fn a_deadline_says_what_becomes_of_whom() {
        let text = "type = \"deadline\"\nstate = \"waiting\"\nafter = \"10m\"\naction = \"escalate\"\npriority = \"high\"\n\
                    queues = [\"mail\"]\nkinds = \"mail.*\"";
        let GeneratorOf::Deadline(of) = parse(text).unwrap().of else { panic!("a deadline") };
        assert_eq!(
            (of.rule.after, of.rule.action),
            (Duration::from_secs(600), Action::Escalate(Priority::HIGH))
        );
        assert_eq!((of.queues.len(), of.kinds.len()), (1, 1));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let deadline = "type = \"deadline\"\nafter = \"1h\"\n";
        let directory = "type = \"directory\"\npath = \"in\"\n";
        for (text, expected) in [
            ("", "no `type`"),
            ("type = \"roundabout\"", "no such generator"),
            (directory, "what is done with a file"),
            ("type = \"directory\"\ncommand = [\"a\"]", "no `path`"),
            (&format!("{directory}command = [\"a\", \"{{file}}\"]"), "a path, a name and a size"),
            (&format!("{directory}command = []"), "it is empty"),
            (&format!("{directory}command = [\"a\"]\ntask = \"hash\""), "both `task` and `command`"),
            (&format!("{directory}task = \"hash\""), "to"),
            (&format!("{directory}command = [\"a\"]\nglbo = \"*\""), "known here"),
            (&format!("{directory}command = [\"a\"]\nqueue = \"mine\""), "a queue of its own"),
            (&format!("{deadline}state = \"running\""), "no `action`"),
            (
                &format!("{deadline}state = \"running\"\naction = \"escalate\"\npriority = 1"),
                "cannot be hurried",
            ),
            (&format!("{deadline}state = \"waiting\"\naction = \"escalate\""), "which priority"),
            (
                &format!("{deadline}state = \"waiting\"\naction = \"cancel\"\npriority = 1"),
                "only of use with",
            ),
            (&format!("{deadline}state = \"waiting\"\naction = \"fail\""), "has not failed"),
            (&format!("{deadline}state = \"running\"\naction = \"cancel\"\nkinds = []"), "it is empty"),
            (&format!("{deadline}state = \"running\"\naction = \"cancel\"\nqueues = []"), "it is empty"),
            (&format!("{deadline}state = \"asleep\"\naction = \"fail\""), "`running` or `waiting`"),
        ] {
            let problems = parse(text).unwrap_err().join("\n");
            assert!(problems.contains(expected), "{text}: {problems}");
        }
    }
}

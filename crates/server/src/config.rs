//! `taskwright.toml`: what it may say, and how it is read.
//!
//! A file is read whole or not at all. Everything that is wrong with it is told at once, each with line, column and
//! the source line; a key that is not known is an error, because a setting that is silently ignored is a lie.
//! What one section means stands in the file of its name: [`task`] for `[tasks.NAME]`, and here the short ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use taskwright_core::schedule::Origin;
use taskwright_core::{Budget, Garbage, NodeName, OnShutdown, QueueName, Retention, Schedule};

use crate::error::{Error, Exit, Report, in_words};
use crate::store_url::StoreUrl;

pub mod generator;
mod reader;
mod schedule;
pub mod server;
pub mod source;
pub mod task;
pub mod template;
pub mod webhook;

pub use generator::GeneratorConfig;
use reader::{Document, Section};
pub(crate) use server::is_here;
pub use server::{Listen, ServerConfig};
pub use source::SourceConfig;
pub use task::{ExecConfig, TaskConfig};
pub use webhook::WebhookConfig;

/// The file that is read when no other is named.
pub const DEFAULT_FILE: &str = "taskwright.toml";

/// The largest file that is read: 1 MiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything a config file says. What it does not say is `None` or empty, and the built-in default holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Config {
    /// Where it came from; `None` when there is no file.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// `[store] url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store_url: Option<StoreUrl>,
    /// `[store] run_dir`: where the workers of this machine show their presence, if the store is not a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_dir: Option<PathBuf>,
    /// `[log] level`: what is logged, if neither `RUST_LOG` nor a flag says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
    /// `[server]`.
    #[serde(skip_serializing_if = "ServerConfig::is_empty")]
    pub server: ServerConfig,
    /// `[workers]`.
    pub workers: WorkersConfig,
    /// `[exec]`.
    #[serde(skip_serializing_if = "ExecConfig::is_empty")]
    pub exec: ExecConfig,
    /// `[tasks.NAME]`, by name.
    pub tasks: BTreeMap<String, TaskConfig>,
    /// `[sources.NAME]`, by name.
    pub sources: BTreeMap<String, SourceConfig>,
    /// `[generators.NAME]`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub generators: BTreeMap<String, GeneratorConfig>,
    /// `[schedules.NAME]`, by name, in the namespace `default`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<String, Schedule>,
    /// `[webhooks.NAME]`, by name, in the namespace `default`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub webhooks: BTreeMap<String, WebhookConfig>,
    /// `[retention]`, with the defaults for what it leaves out.
    #[serde(serialize_with = "retention_as_text")]
    pub retention: Retention,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What did not work.
    Error,
    /// And what may not work soon.
    Warn,
    /// And how attempts ended that failed.
    Info,
    /// And what is done.
    Debug,
    /// And everything else.
    Trace,
}

impl std::str::FromStr for LogLevel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => {
                return Err(Error::usage(
                    format!("the level {:?}", taskwright_core::name::shown(text)),
                    "there is no such level",
                    "write \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
                ));
            }
        })
    }
}

/// `[workers]`: how `up` runs its workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WorkersConfig {
    /// Worker processes; 0 accepts jobs and runs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// Jobs that each process runs at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// How many of these are kept for `realtime` jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve: Option<u32>,
    /// The queues they serve; `None` is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<QueueName>>,
    /// How long a shutdown waits for what runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<Duration>,
    /// What becomes of jobs that a shutdown finds running and that do not end within the grace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_shutdown: Option<OnShutdown>,
    /// After how many jobs a worker process is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recycle_after_jobs: Option<u32>,
    /// Above how much memory, in bytes, a worker process is replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recycle_above_rss: Option<u64>,
    /// Whether workers and what they start can get no more rights than they have: by `sudo`, or any file that runs as its owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_new_privs: Option<bool>,
    /// What the place is called that they run at; `None` is the machine's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// How much the jobs of one worker process may weigh together.
    pub budget: Budget,
}

/// The most worker processes of one `up`.
pub const PROCESSES_MAX: u32 = 1_024;
/// The most jobs that one worker process runs at once.
pub const CONCURRENCY_MAX: u32 = 10_000;

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is no TOML, or says anything that is not understood; all of it at once.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let shown = path.display().to_string();
        let refuse = |why: String| {
            Error::usage(
                format!("the config file {shown}"),
                why,
                "name another with --config FILE, or leave it out",
            )
        };
        let facts = std::fs::metadata(path).map_err(|error| refuse(in_words(&error)))?;
        if facts.is_dir() {
            return Err(refuse("it is a directory".to_owned()));
        }
        if facts.len() > FILE_BYTES_MAX {
            return Err(refuse(format!("it has {} bytes, {FILE_BYTES_MAX} are allowed", facts.len())));
        }
        let text = std::fs::read_to_string(path).map_err(|error| refuse(in_words(&error)))?;
        let mut config = Self::parse(&shown, &text)?;
        config.file = Some(path.to_owned());
        Ok(config)
    }

    /// What the schedules of this file come from; `None` when there is no file.
    pub(crate) fn origin(&self) -> Option<Origin> {
        let file = self.file.as_deref()?;
        let whole = file.canonicalize().or_else(|_| std::path::absolute(file));
        let file = whole.unwrap_or_else(|_| file.to_owned()).display().to_string();
        Some(Origin::Config { file })
    }

    /// Reads the text of a file that is called `name` in messages.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load).
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let document = Document::new(name, text);
        let config = document.root().map(|root| {
            let config = read(&root);
            root.finish();
            config
        });
        let reports = document.into_reports();
        match config {
            Some(config) if reports.is_empty() => Ok(config),
            _ => Err(Error::several(Exit::Usage, reports)),
        }
    }
}

fn read(root: &Section<'_>) -> Config {
    let (store_url, run_dir) = root.section("store").map_or((None, None), |store| {
        let url = store.parsed("url", "a URL like \"sqlite:jobs.db\"", StoreUrl::parse);
        let run_dir =
            store.parsed("run_dir", "a path like \"/run/taskwright\"", |text| Ok(PathBuf::from(text)));
        store.finish();
        (url, run_dir)
    });
    let log_level = root.section("log").and_then(|log| {
        let level = log.parsed("level", "a level like \"info\"", str::parse);
        log.finish();
        level
    });
    let server = root.section("server").map(|section| server::read(&section)).unwrap_or_default();
    let workers = root.section("workers").map(|section| workers(&section)).unwrap_or_default();
    let retention = root.section("retention").map(|section| retention(&section)).unwrap_or_default();
    root.not_supported("queues", "settings of queues");
    let exec = root.section("exec").map(|section| task::read_exec(&section)).unwrap_or_default();
    let tasks: BTreeMap<String, TaskConfig> = root
        .named_sections("tasks")
        .into_iter()
        .map(|(name, section)| (name.to_owned(), task::read(name, &section)))
        .filter_map(|(name, task)| Some((name, task?)))
        .collect();
    let sources = root
        .named_sections("sources")
        .into_iter()
        .filter_map(|(name, section)| Some((name.to_owned(), source::read(name, &section)?)))
        .collect();
    let schedules = root
        .named_sections("schedules")
        .into_iter()
        .filter_map(|(name, section)| Some((name.to_owned(), schedule::read(name, &section, &tasks)?)))
        .collect();
    let generators = root
        .named_sections("generators")
        .into_iter()
        .filter_map(|(name, section)| Some((name.to_owned(), generator::read(name, &section, &tasks)?)))
        .collect();
    let webhooks = root
        .named_sections("webhooks")
        .into_iter()
        .filter_map(|(name, section)| Some((name.to_owned(), webhook::read(name, &section)?)))
        .collect();
    Config {
        file: None,
        store_url,
        run_dir,
        log_level,
        server,
        workers,
        exec,
        tasks,
        schedules,
        sources,
        generators,
        webhooks,
        retention,
    }
}

fn workers(section: &Section<'_>) -> WorkersConfig {
    let config = WorkersConfig {
        processes: section.whole("processes", 0, PROCESSES_MAX),
        concurrency: section.whole("concurrency", 1, CONCURRENCY_MAX),
        reserve: section.whole("reserve", 0, CONCURRENCY_MAX - 1),
        queues: section.list("queues", "a list of queue names", |text| Ok(QueueName::new(text)?)),
        grace: section.duration("grace"),
        on_shutdown: on_shutdown(section),
        recycle_after_jobs: section.whole("recycle_after_jobs", 1, u32::MAX),
        recycle_above_rss: section.memory("recycle_above_rss"),
        no_new_privs: section.flag("no_new_privs"),
        node: section.parsed("node", "a name like \"blue-3\"", |text| Ok(NodeName::new(text)?)),
        budget: section.section("budget").map(|budget| self::budget(&budget)).unwrap_or_default(),
    };
    section.finish();
    config
}

/// What becomes of jobs that a shutdown finds running.
fn on_shutdown(section: &Section<'_>) -> Option<OnShutdown> {
    section.parsed("on_shutdown", "\"give-back\" or \"drop\"", |text| Ok(text.parse()?))
}

fn budget(section: &Section<'_>) -> Budget {
    let budget = Budget { cpu_milli: section.cpus("cpu"), memory_bytes: section.memory("memory") };
    section.finish();
    budget
}

fn retention(section: &Section<'_>) -> Retention {
    let mut retention = Retention::default();
    for garbage in Garbage::ALL {
        if let Some(keep) = section.retention(garbage) {
            retention = retention.with(garbage, keep);
        }
    }
    section.finish();
    retention
}

fn retention_as_text<S: serde::Serializer>(keep: &Retention, serializer: S) -> Result<S::Ok, S::Error> {
    let text = |keep: Option<Duration>| keep.map_or("forever".to_owned(), crate::text::duration);
    serializer.collect_map(Garbage::ALL.map(|garbage| (garbage.as_str(), text(keep.of(garbage)))))
}

/// A report about a place in a config file.
pub(crate) fn report(place: crate::error::Place, what: String, error: &Error) -> Report {
    let first = &error.reports()[0];
    Report { what, place: Some(place), ..first.clone() }
}

#[cfg(test)]
mod tests {
    use taskwright_core::{IoNice, Limits, Weight};

    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let error = Config::parse("taskwright.toml", text).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        error
            .reports()
            .iter()
            .map(|report| {
                let place = report.place.as_ref().unwrap();
                format!("{}:{} {}", place.line, place.column, report.what)
            })
            .collect()
    }

    #[test]
    fn a_whole_file_is_read() {
        let config = Config::parse(
            "taskwright.toml",
            r#"
            [store]
            url = "sqlite:jobs.db"
            run_dir = "/run/taskwright"
            [workers]
            processes = 2
            concurrency = 8
            queues = ["default", "mail"]
            grace = "40s"
            on_shutdown = "drop"
            recycle_after_jobs = 1000
            recycle_above_rss = "400MiB"
            budget = { cpu = 2.5, memory = "4GiB" }
            [log]
            level = "info"
            [retention]
            completed = "1d"
            failed = "forever"
            [tasks.thumb]
            command = "convert"
            args = ["{source}", "-resize", "64x64", "{target}"]
            priority = "bulk"
            max_attempts = "none"
            timeout = 90
            max_rss = "512MiB"
            on_shutdown = "give-back"
            max_cpu_time = "10s"
            nice = 10
            ionice = "best-effort:7"
            weight = { cpu = 1, memory = "1GiB" }
            "#,
        )
        .unwrap();
        assert_eq!(config.store_url, Some(StoreUrl::Sqlite("jobs.db".into())));
        assert_eq!(config.run_dir.as_deref(), Some(Path::new("/run/taskwright")));
        assert_eq!(config.workers.processes, Some(2));
        assert_eq!(config.workers.grace, Some(Duration::from_secs(40)));
        assert_eq!(config.workers.on_shutdown, Some(OnShutdown::Drop));
        assert_eq!(config.retention.of(Garbage::Completed), Some(Duration::from_secs(86_400)));
        assert_eq!(config.retention.of(Garbage::Failed), None);
        assert_eq!(config.retention.of(Garbage::Dropped), Retention::default().of(Garbage::Dropped));
        let task = &config.tasks["thumb"];
        assert_eq!(task.timeout, Some(Duration::from_secs(90)));
        assert_eq!(task.max_attempts, Some(taskwright_core::MaxAttempts::Unlimited));
        assert_eq!(task.args.len(), 4);
        assert_eq!((task.on_shutdown, config.log_level), (Some(OnShutdown::GiveBack), Some(LogLevel::Info)));
        assert_eq!(config.workers.recycle_after_jobs, Some(1_000));
        assert_eq!(config.workers.recycle_above_rss, Some(400 << 20));
        let budget = Budget { cpu_milli: Some(2_500), memory_bytes: Some(4 << 30) };
        assert_eq!(config.workers.budget, budget);
        let limits = Limits {
            max_rss: Some(512 << 20),
            max_cpu_time: Some(Duration::from_secs(10)),
            nice: Some(10),
            ionice: Some(IoNice::BestEffort(7)),
        };
        assert_eq!(task.limits, limits);
        assert_eq!(task.weight, Weight { cpu_milli: 1_000, memory_bytes: 1 << 30 });
    }

    #[test]
    fn sizes_budgets_and_weights_that_make_no_sense_are_told_with_their_place() {
        let text = "[workers]\nrecycle_above_rss = 400\nbudget = { cpus = 2, cpu = -1 }\n\
                    [tasks.a]\ncommand = \"a\"\nmax_rss = \"512\"\nnice = 20\nionice = \"realtime\"\n\
                    max_cpu_time = \"0s\"\nweight = 3\n";
        assert_eq!(
            problems(text),
            [
                "2:21 `recycle_above_rss` in [workers] is a whole number",
                "3:12 unknown key `cpus` in [workers.budget]",
                "3:28 `cpu` in [workers.budget] is no such number",
                "6:11 `max_rss` in [tasks.a] is \"512\"",
                "7:8 `nice` in [tasks.a] is 20",
                "8:10 `ionice` in [tasks.a] is \"realtime\"",
                "9:16 `max_cpu_time` in [tasks.a] is \"0s\"",
                "10:10 `tasks.a.weight` is a whole number",
            ]
        );
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_with_its_place() {
        let text = "[store]\nurll = \"x\"\n[workers]\nprocesses = \"two\"\nconcurrency = 0\n[tusks.a]\n";
        assert_eq!(
            problems(text),
            [
                "2:1 unknown key `urll` in [store]",
                "4:13 `processes` in [workers] is a string",
                "5:15 `concurrency` in [workers] is 0",
                "6:2 unknown section `tusks`",
            ]
        );
    }

    #[test]
    fn what_is_not_supported_yet_is_refused_rather_than_ignored() {
        let found = problems("[queues.mail]\nlimit = 3\n");
        assert_eq!(found, ["1:2 [queues]"]);
    }

    #[test]
    fn a_password_in_a_wrong_line_is_not_repeated() {
        for line in [
            "url = \"postgres://me:secret@host/db?shcema=a\"",
            "url = \"postgre://me:secret@host/db\"",
            "url = \"postgres://me:secret@host/db",
            "lru = \"postgres://host/db?password=secret\"",
        ] {
            let error = Config::parse("taskwright.toml", &format!("[store]\n{line}\n")).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn broken_toml_is_told_with_its_place() {
        assert_eq!(problems("[store\nurl = 3").first().map(|text| &text[..4]), Some("1:7 "));
    }
}

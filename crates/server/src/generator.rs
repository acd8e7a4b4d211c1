//! Generators of the config file, made ready to run.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use taskwright::Env;
use taskwright::generator::{
    DeadlineGenerator, Directory, DirectoryGenerator, FoundFile, GeneratorSet, Item,
};
use taskwright::store::{Filter, Pattern, SharedStore};
use taskwright_core::generator::{Definition, is_reserved};
use taskwright_core::{GeneratorName, Namespace, bulk, webhook};

use crate::config::generator::{DeadlineConfig, DirectoryConfig, GeneratorOf, Work};
use crate::config::{Config, GeneratorConfig, TaskConfig};
use crate::error::{Error, in_words};
use crate::exec;
use crate::schedule::JobSettings;

/// What the daemons ask for work.
///
/// # Errors
///
/// When the current directory is not known, or two generators make no sense together.
pub(crate) fn generators(config: &Config, store: &SharedStore, env: &Env) -> Result<GeneratorSet, Error> {
    let base = config.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let mut set = GeneratorSet::new();
    for (name, generator) in &config.generators {
        set = match &generator.of {
            GeneratorOf::Directory(of) => {
                set.with(directory(base, name, generator, of, config, store, env)?)?
            }
            GeneratorOf::Deadline(of) => set.with(deadline(name, generator, of, store)?)?,
        };
    }
    Ok(set)
}

/// A path that is not absolute is meant from where the config file lies.
fn directory(
    base: &Path,
    name: &str,
    generator: &GeneratorConfig,
    of: &DirectoryConfig,
    config: &Config,
    store: &SharedStore,
    env: &Env,
) -> Result<DirectoryGenerator, Error> {
    let path = std::path::absolute(base.join(&of.path)).map_err(|error| {
        let fix = "start it in a directory that exists";
        Error::operational("finding the directory of a generator", in_words(&error), fix)
    })?;
    let (recursive, patterns) = (of.recursive, of.glob.clone());
    let files = Directory { path, recursive, patterns, debounce: of.debounce, rescan: of.rescan };
    let task: Option<&TaskConfig> = match &of.work {
        Work::Task { name, .. } => config.tasks.get(name),
        Work::Command(_) => None,
    };
    let (work, jobs) = (of.work.clone(), of.jobs.clone().or_of(task));
    let priority = jobs.priority;
    let item = move |file: &FoundFile| item(&work, &jobs, file);
    let (namespace, topics, window) = (generator.namespace.clone(), generator.topics.clone(), of.window);
    Ok(DirectoryGenerator::new(name, files, store, env, item).options(move |defaults| {
        let worst = priority.unwrap_or(defaults.worst);
        Definition {
            namespace: namespace.clone(),
            topics: topics.clone(),
            window: window.unwrap_or(defaults.window),
            best: worst,
            worst,
            // The walks say when they go on.
            idle_max: Duration::from_secs(300),
            ..defaults
        }
    }))
}

/// The item of a file.
fn item(work: &Work, jobs: &JobSettings, file: &FoundFile) -> Result<Item, taskwright_core::Error> {
    let of_file = file.args();
    let mut item = match work {
        Work::Task { name, args } => {
            let mut whole = args.clone();
            if let Value::Object(of_file) = of_file {
                whole.extend(of_file);
            }
            Item::new(name).args(&whole)?
        }
        Work::Command(argv) => {
            // The config file was refused if one of them has no argument.
            let fill =
                |template: &crate::config::template::Template| template.fill(&of_file).unwrap_or_default();
            let argv: Vec<String> = argv.iter().map(fill).collect();
            Item::new(exec::KIND).args(&json!({ "command": argv }))?
        }
    };
    if let Some(max_attempts) = jobs.max_attempts {
        item = item.max_attempts(max_attempts);
    }
    if let Some(backoff) = jobs.backoff {
        item = item.backoff(backoff);
    }
    if let Some(timeout) = jobs.timeout {
        item = item.timeout(timeout);
    }
    Ok(item)
}

fn deadline(
    name: &str,
    generator: &GeneratorConfig,
    of: &DeadlineConfig,
    store: &SharedStore,
) -> Result<DeadlineGenerator, Error> {
    let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
    let filter = Filter {
        namespaces: generator.namespace.clone().into(),
        kinds: patterns(&of.kinds),
        queues: patterns(&of.queues),
        ..Filter::default()
    };
    Ok(DeadlineGenerator::new(name, of.rule, store)?.only(filter).topics(&generator.topics))
}

/// Refuses one that something else takes care of, which says how it is removed.
///
/// # Errors
///
/// When it is one: with what to do instead.
pub(crate) fn check_removable(
    config: &Config,
    namespace: &Namespace,
    name: &GeneratorName,
) -> Result<(), Error> {
    let refused = |why: &str, fix: String| Err(Error::usage(format!("generators remove {name}"), why, fix));
    if is_reserved(name) {
        let why = "it is one of Taskwright's own, which every node brings and would register anew";
        return refused(why, format!("let it rest instead: taskwright generators pause {name}"));
    }
    if let Some(endpoint) = name.as_str().strip_prefix(webhook::GENERATOR_PREFIX) {
        let why = "it is that of an endpoint of webhooks, and goes with it";
        return refused(why, format!("remove that: taskwright webhooks remove {endpoint}"));
    }
    if name.as_str().starts_with(bulk::GENERATOR_PREFIX) {
        let why = "it is that of a bulk, and goes when that is over";
        return refused(
            why,
            "end that: taskwright bulk cancel ID, which `taskwright bulk list` tells".into(),
        );
    }
    match (&config.file, config.generators.get(name.as_str())) {
        (Some(file), Some(generator)) if generator.namespace == *namespace => {
            let why = format!("{} has it, and would register it anew, from its beginning", file.display());
            refused(&why, format!("remove [generators.{name}] there first, and restart what runs with it"))
        }
        _ => Ok(()),
    }
}

//! The command line: one file a verb or noun, and here what all of them share.
//!
//! A verb is a struct of its flags with a `run`. It gets a [`Context`], which opens the store when first asked for
//! it, and writes through the context's [`Output`](crate::output::Output). It returns how the program ends.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, FromArgMatches as _, Parser, Subcommand};
use taskwright_core::Namespace;
use taskwright_store::Store;

use crate::App;
use crate::error::{Error, Exit};
use crate::output::{ColorChoice, Io, Manner, Output};

mod audit;
pub(crate) mod bench;
mod bulk;
mod completions;
mod config;
mod context;
mod deed;
mod doctor;
mod enqueue;
mod events;
mod flood;
mod gc;
mod generators;
mod jobs;
mod look;
mod migrate;
mod namespaces;
mod profiles;
mod queues;
mod schedules;
mod select;
pub(crate) mod serve;
mod services;
mod sources;
mod stats;
mod tokens;
pub(crate) mod up;
mod usage;
mod users;
mod value;
mod webhooks;
mod whoami;
pub(crate) mod worker;
mod workers;

pub(crate) use context::Context;

#[derive(Debug, Parser)]
#[command(
    name = "taskwright",
    version,
    about = "Background work that must not get lost",
    term_width = 80,
    disable_help_subcommand = true,
    after_help = "\
Start here:
  taskwright up                                  run the daemon and its workers
  taskwright enqueue exec -- sh -c 'echo hello'  prints the id of a new job
  taskwright jobs wait ID                        exits 0 when it has completed
  taskwright jobs logs ID                        prints hello

Exit codes: 0 ok, 1 did not work, 2 makes no sense, and of jobs: 4 failed,
8 not over, 16 cancelled or dropped."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The store [default: sqlite:.taskwright/taskwright.db]
    #[arg(long, global = true, value_name = "URL", env = context::STORE_VARIABLE, hide_env_values = true)]
    store: Option<String>,
    /// A server to ask instead
    #[arg(long, global = true, value_name = "URL", env = crate::remote::SERVER_VARIABLE, hide_env_values = true)]
    server: Option<String>,
    /// Who asks it; better in `TASKWRIGHT_TOKEN`, where nobody sees it
    #[arg(long, global = true, value_name = "T", env = crate::remote::TOKEN_VARIABLE, hide_env_values = true)]
    #[arg(hide_short_help = true)]
    token: Option<String>,
    /// Whom to believe that the server is the one that is meant: a file in PEM
    #[arg(long, global = true, value_name = "FILE", env = "TASKWRIGHT_CA", hide_env_values = true)]
    #[arg(hide_short_help = true)]
    ca: Option<PathBuf>,
    /// The server of this name, as `profiles` keeps it
    #[arg(long, global = true, value_name = "NAME", env = context::PROFILE_VARIABLE, hide_env_values = true)]
    #[arg(hide_short_help = true)]
    profile: Option<String>,
    /// Where a PostgreSQL store's workers meet [default: see the guide]
    #[arg(long, global = true, value_name = "DIR", env = context::RUN_DIR_VARIABLE, hide_env_values = true)]
    #[arg(hide_short_help = true)]
    run_dir: Option<PathBuf>,
    /// The config file [default: taskwright.toml, if there]
    #[arg(long, global = true, value_name = "FILE", env = "TASKWRIGHT_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// The namespace [default for new jobs: default]
    ///
    /// `jobs list`, and what changes jobs, takes several.
    #[arg(long, global = true, value_name = "NAME")]
    namespace: Vec<Namespace>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    /// Print no messages but errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print more messages
    #[arg(long, short, global = true)]
    verbose: bool,
    /// Use colours: auto (on a terminal), always, never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true
    )]
    color: ColorChoice,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run everything: HTTP API, duties and supervised worker processes
    Up(up::Up),
    /// Run the HTTP API only
    Serve(serve::Serve),
    /// Run workers only
    Worker(worker::Worker),
    /// Store new jobs and print their ids
    Enqueue(enqueue::Enqueue),
    /// Look at jobs, wait for them, change them
    Jobs(jobs::Jobs),
    /// Create bulk jobs, look at them, pause, resume and cancel them
    Bulk(bulk::Bulk),
    /// Look at queues, pause, resume and empty them
    Queues(queues::Queues),
    /// Look at event sources
    Sources(sources::Sources),
    /// Look at schedules, add, pause, resume, fire and remove them
    Schedules(schedules::Schedules),
    /// Look at generators, pause, resume and poll them
    Generators(generators::Generators),
    /// Look at what is removed when it is old, and how long it is kept
    Gc(gc::Gc),
    /// Tell how executions went, minute by minute or hour by hour
    Stats(stats::Stats),
    /// Tell others of events: look at endpoints, add and change them
    Webhooks(webhooks::Webhooks),
    /// Emit events, and look at them
    Events(events::Events),
    /// Look at workers, quiet and stop them
    Workers(workers::Workers),
    /// Look at the services of processes
    Services(services::Services),
    /// Make, list and revoke API tokens
    Tokens(tokens::Tokens),
    /// Add, list, change and remove users
    Users(users::Users),
    /// Look at namespaces, and say who may cancel jobs there
    Namespaces(namespaces::Namespaces),
    /// Tell as whom the command line acts, and what that one may do
    Whoami(whoami::WhoIs),
    /// Tell who did what, and verify that nobody has changed that
    Audit(audit::Audit),
    /// Keep servers to ask by name, with their tokens
    Profiles(profiles::ProfilesOf),
    /// Create the store, or bring it to this version
    Migrate(migrate::Migrate),
    /// Check or print the config file
    Config(config::Config),
    /// Look for what is wrong with the store and its workers
    Doctor(doctor::Doctor),
    /// Measure how fast the store and the workers are here
    Bench(bench::Bench),
    /// Make jobs that are nothing but load
    Flood(flood::Flood),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

/// Runs one command and says how the program ends.
pub(crate) fn run(
    app: App,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    io: Io,
    store: Option<Arc<dyn Store>>,
) -> Exit {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let Io { input, out, err, terminal } = io;
    let (cli, deed) = match parse(&args) {
        Ok(parsed) => parsed,
        Err(error) => {
            return usage::explain(&error, &args, &Output::new(out, err, terminal, manner_of(&args)));
        }
    };
    let Global { json, quiet, verbose, color, .. } = cli.global;
    let output = Output::new(out, err, terminal, Manner { json, quiet, verbose, color });
    let given = context::Given {
        typed: Typed::of(&args),
        store_url: cli.global.store,
        server: cli.global.server,
        token: cli.global.token,
        ca: cli.global.ca,
        profile: cli.global.profile,
        // What needs the store itself means that one, and what is about neither asks none.
        asks_none: cli.verb.of_a_store().is_some()
            || matches!(cli.verb, Verb::Config(_) | Verb::Completions(_)),
    };
    let settings = context::Settings {
        given,
        run_dir: cli.global.run_dir,
        config: cli.global.config,
        namespaces: cli.global.namespace,
        open_store: store.or_else(|| app.store_handle().cloned()),
        app,
        deed,
        is_about_profiles: matches!(cli.verb, Verb::Profiles(_)),
        answers: matches!(cli.verb, Verb::Up(_) | Verb::Serve(_)),
        needs_no_file: matches!(cli.verb, Verb::Profiles(_) | Verb::Completions(_)),
    };
    let context = match Context::new(settings, input, output) {
        Ok(context) => context,
        Err((error, output)) => return end(&output, Err(error)),
    };
    let done = cli.verb.run(&context).and_then(|exit| context.output.flush().map(|()| exit));
    let exit = end(&context.output, done);
    context.close();
    exit
}

/// Reads a command line, and what it does.
fn parse(args: &[OsString]) -> Result<(Cli, Option<deed::Deed>), clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(args)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    Ok((cli, deed::Deed::of(&command, &matches)))
}

impl Verb {
    /// The word for a verb that needs the store itself, whoever reaches a server.
    const fn of_a_store(&self) -> Option<&'static str> {
        match self {
            Self::Up(_) => Some("up"),
            Self::Serve(_) => Some("serve"),
            Self::Worker(_) => Some("worker"),
            Self::Migrate(_) => Some("migrate"),
            Self::Bench(_) => Some("bench"),
            _ => None,
        }
    }

    fn run(self, context: &Context) -> Result<Exit, Error> {
        if let (Some(verb), Some(server)) = (self.of_a_store(), context.server()) {
            let (way, variable) = context.given.way_to_server();
            return Err(Error::usage(
                format!("`{verb}` with {way} {}", server.url()),
                "it needs the store itself",
                format!("leave out {way}, and unset {variable}; name the store with --store"),
            ));
        }
        if context.namespaces_are_several() && !matches!(&self, Self::Jobs(noun) if noun.takes_namespaces()) {
            return Err(Error::usage(
                "several namespaces",
                "only `jobs list`, and what changes jobs, looks at more than one",
                "pass --namespace once",
            ));
        }
        if context.server().is_some() {
            context.block_on(context.find_home());
        }
        match self {
            Self::Up(verb) => crate::daemon::up(context, &verb),
            Self::Serve(verb) => crate::daemon::serve(context, &verb),
            Self::Worker(verb) => crate::daemon::worker(context, &verb),
            Self::Bench(verb) => crate::bench::run(context, &verb),
            Self::Completions(verb) => verb.run(context),
            Self::Profiles(noun) => noun.run(context),
            Self::Config(verb) => verb.run(context),
            Self::Enqueue(verb) => context.block_on(verb.run(context)),
            Self::Jobs(noun) => context.block_on(noun.run(context)),
            Self::Bulk(noun) => context.block_on(noun.run(context)),
            Self::Flood(verb) => context.block_on(verb.run(context)),
            Self::Queues(noun) => context.block_on(noun.run(context)),
            Self::Sources(noun) => context.block_on(noun.run(context)),
            Self::Schedules(noun) => context.block_on(noun.run(context)),
            Self::Generators(noun) => context.block_on(noun.run(context)),
            Self::Gc(noun) => context.block_on(noun.run(context)),
            Self::Stats(verb) => context.block_on(verb.run(context)),
            Self::Webhooks(noun) => context.block_on(noun.run(context)),
            Self::Events(noun) => context.block_on(noun.run(context)),
            Self::Workers(noun) => context.block_on(noun.run(context)),
            Self::Services(noun) => context.block_on(noun.run(context)),
            Self::Tokens(noun) => context.block_on(noun.run(context)),
            Self::Users(noun) => context.block_on(noun.run(context)),
            Self::Namespaces(noun) => context.block_on(noun.run(context)),
            Self::Whoami(verb) => context.block_on(verb.run(context)),
            Self::Audit(noun) => context.block_on(noun.run(context)),
            Self::Migrate(verb) => context.block_on(verb.run(context)),
            Self::Doctor(verb) => context.block_on(verb.run(context)),
        }
    }
}

fn end(output: &Output, done: Result<Exit, Error>) -> Exit {
    done.unwrap_or_else(|error| {
        output.error(&error);
        error.exit()
    })
}

/// Which of the flags that name a place were typed, and are not from the environment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Typed {
    server: bool,
    profile: bool,
    store: bool,
    token: bool,
}

impl Typed {
    fn of(args: &[OsString]) -> Self {
        let ours: Vec<&str> =
            args.iter().take_while(|arg| *arg != "--").filter_map(|arg| arg.to_str()).collect();
        let has = |flag: &str| {
            ours.iter().any(|arg| {
                arg.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            })
        };
        Self {
            server: has("--server"),
            profile: has("--profile"),
            store: has("--store"),
            token: has("--token"),
        }
    }
}

/// How to tell a usage error, when the flags that would say so could not be parsed.
fn manner_of(args: &[OsString]) -> Manner {
    let ours = args.iter().take_while(|arg| *arg != "--");
    Manner { json: ours.clone().any(|arg| arg == "--json"), ..Manner::default() }
}

/// The user who is logged in, who acts unless somebody says otherwise.
pub(crate) fn local_actor() -> taskwright_core::Actor {
    context::actor(None)
}

/// The whole command line, for completions and tests.
fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every subcommand, with its path.
    fn all(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
        for sub in command.get_subcommands() {
            let path = format!("{path} {}", sub.get_name());
            all(sub, &path, found);
            found.push((path, sub.clone()));
        }
    }

    #[test]
    fn every_subcommand_has_a_purpose_and_an_example_and_help_that_fits_80_columns() {
        let mut root = command();
        root.build();
        let mut found = vec![("taskwright".to_owned(), root.clone())];
        all(&root, "taskwright", &mut found);
        assert!(found.len() > 25, "{}", found.len());
        for (path, mut command) in found {
            let help = command.render_help().to_string();
            assert!(command.get_about().is_some(), "{path} has no purpose");
            assert!(help.contains("  taskwright "), "{path} has no example");
            assert!(help.lines().count() <= 60, "{path} -h has {} lines", help.lines().count());
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{path}: {line}");
            }
        }
    }

    #[test]
    fn every_example_of_the_help_can_be_parsed() {
        let mut root = command();
        root.build();
        let mut found = vec![("taskwright".to_owned(), root.clone())];
        all(&root, "taskwright", &mut found);
        let mut examples = 0;
        for (path, mut command) in found {
            for line in command.render_help().to_string().lines() {
                let Some(example) = line.strip_prefix("  taskwright ") else { continue };
                let words = words(example);
                let parsed = Cli::try_parse_from(std::iter::once("taskwright".to_owned()).chain(words));
                assert!(parsed.is_ok(), "{path}: {line}\n{}", parsed.unwrap_err());
                examples += 1;
            }
        }
        assert!(examples > 25, "{examples}");
    }

    /// Splits an example as a shell would, as far as our examples go; what follows two spaces is a comment.
    fn words(example: &str) -> Vec<String> {
        let id = "01890000-0000-7000-8000-000000000000";
        let mut words = vec![String::new()];
        let mut quoted = false;
        let mut last = ' ';
        for c in example.chars() {
            match c {
                '\'' => quoted = !quoted,
                '>' | '|' | '&' if !quoted => break,
                ' ' if !quoted && last == ' ' => break,
                ' ' if !quoted => words.push(String::new()),
                c => words.last_mut().unwrap().push(c),
            }
            last = if quoted { 'q' } else { c };
        }
        words.retain(|word| !word.is_empty());
        words.into_iter().map(|word| if word.starts_with("ID") { id.to_owned() } else { word }).collect()
    }
}

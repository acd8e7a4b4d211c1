//! What to run: a program with everything that belongs to one execution of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use taskwright_core::Limits;

/// The variables of this process that a command gets unless its `env_pass` says otherwise.
const ENV_PASS: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TZ", "TMPDIR"];
const GRACE: Duration = Duration::from_secs(5);
const LOG_BYTES_MAX: usize = 1024 * 1024;

/// A command to run, with its limits.
///
/// The fields are plain data; [`Command::new`] fills in the defaults. `Debug` shows neither values of the
/// environment nor the input, because both may hold secrets.
#[derive(Clone)]
pub struct Command {
    /// The program: a name that is looked up in the `PATH` the *command* gets, or a path (relative to `cwd`).
    pub program: OsString,
    /// What the program is told that it is called; as it is named in `program` when `None`.
    pub arg0: Option<OsString>,
    /// The arguments after the program's own name, passed verbatim.
    pub args: Vec<OsString>,
    /// Variables to set; they win over the passed ones.
    pub env: BTreeMap<OsString, OsString>,
    /// Which variables of this process the command gets: names, or `PREFIX*`. Everything else is kept from
    /// it.
    pub env_pass: Vec<String>,
    /// The directory to start in; this process's own when `None`.
    pub cwd: Option<PathBuf>,
    /// What the command can read from its standard input; then comes the end of the file.
    pub stdin: Vec<u8>,
    /// After this long the command is stopped with [`Stop::Timeout`](super::Stop::Timeout).
    pub timeout: Option<Duration>,
    /// What its whole tree of processes may use; it is stopped with [`Stop::Limit`](super::Stop::Limit) when it has used
    /// more. Looked at ten times a second.
    pub limits: Limits,
    /// How long a stopped command has between TERM and KILL (default 5 s).
    pub grace: Duration,
    /// How much output is kept per attempt, both streams together, in bytes (default 1 MiB). The rest is
    /// counted.
    pub log_bytes_max: usize,
    /// A variable, as (name, value), that marks every process of the tree, so that the tree can be found
    /// again with [`kill_tagged`](super::kill_tagged). Should be unique to the attempt; without one a private
    /// mark is used.
    pub tag: Option<(String, String)>,
}

impl Command {
    /// A command without arguments, with the default limits.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arg0: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            env_pass: ENV_PASS.map(String::from).to_vec(),
            cwd: None,
            stdin: Vec::new(),
            timeout: None,
            limits: Limits::default(),
            grace: GRACE,
            log_bytes_max: LOG_BYTES_MAX,
            tag: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Whether the command may see this variable of our own environment.
    pub(super) fn passes(&self, name: &OsStr) -> bool {
        let name = name.as_encoded_bytes();
        self.env_pass.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix.as_bytes()),
            None => name == pattern.as_bytes(),
        })
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program)
            .field("arg0", &self.arg0)
            .field("args", &self.args)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("env_pass", &self.env_pass)
            .field("cwd", &self.cwd)
            .field("stdin_bytes", &self.stdin.len())
            .field("timeout", &self.timeout)
            .field("limits", &self.limits)
            .field("grace", &self.grace)
            .field("log_bytes_max", &self.log_bytes_max)
            .field("tag", &self.tag)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_passes_every_variable_with_that_prefix() {
        let command = Command::new("true");
        assert!(command.passes(OsStr::new("LC_TIME")));
        assert!(!command.passes(OsStr::new("LC")));
        assert!(!command.passes(OsStr::new("PATHS")));
    }

    #[test]
    fn debug_output_holds_no_values_that_may_be_secret() {
        let mut command = Command::new("true");
        command.env.insert("TOKEN".into(), "hunter2".into());
        command.stdin = b"hunter2".to_vec();
        let shown = format!("{command:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("hunter2"), "{shown}");
    }
}

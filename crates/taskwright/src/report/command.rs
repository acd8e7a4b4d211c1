//! Tells of failures by running a command.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use taskwright_core::Error;

use super::{Report, Reporter};
use crate::env::{Env, Sleep};
use crate::process::{self, Command, Host, Timing};

/// How long the command may take before it is stopped: 20 s, less than a reporter may.
const COMMAND_MAX: Duration = Duration::from_secs(20);
/// How long it has then to end by itself: 2 s.
const COMMAND_GRACE: Duration = Duration::from_secs(2);
/// How much of what it prints is looked at: 4 KiB.
const PRINTED_BYTES_MAX: usize = 4 << 10;

/// Runs a command for each failure, argv verbatim and without a shell, with the report as one line of JSON on its standard input.
///
/// One runs at a time. What it prints is lost; that it failed is told in the log.
///
/// # Example
///
/// ```no_run
/// use taskwright::report::{CommandReporter, Reports};
/// use taskwright::Env;
///
/// # fn example(env: Env) -> Result<(), taskwright::Error> {
/// let pager = CommandReporter::new(&env, ["/usr/local/bin/page-oncall", "--stdin"])?.only_final();
/// let reports = Reports::new(&env).to(pager);
/// # Ok(())
/// # }
/// ```
pub struct CommandReporter {
    argv: Vec<OsString>,
    host: Host,
    only_final: bool,
}

impl CommandReporter {
    /// The program and its arguments.
    ///
    /// # Errors
    ///
    /// When there is no program.
    pub fn new<A: Into<OsString>>(
        env: &Env,
        argv: impl IntoIterator<Item = A>,
    ) -> Result<Self, crate::Error> {
        let argv: Vec<OsString> = argv.into_iter().map(Into::into).collect();
        if argv.first().is_none_or(|program| program.is_empty()) {
            let error = Error::invalid(
                "the command that is told of failures",
                "it names no program",
                "name the program first, then its arguments",
            );
            return Err(error.into());
        }
        Ok(Self { argv, host: Host::new(Arc::new(EnvTiming(env.clone()))), only_final: false })
    }

    /// Runs it only for failures after which nothing is tried again.
    #[must_use]
    pub fn only_final(mut self) -> Self {
        self.only_final = true;
        self
    }

    async fn run(&self, report: &Report) -> Result<(), String> {
        let mut command = Command::new(self.argv[0].clone()).args(self.argv[1..].iter().cloned());
        let mut line = serde_json::to_vec(report).map_err(|error| error.to_string())?;
        line.push(b'\n');
        command.stdin = line;
        command.timeout = Some(COMMAND_MAX);
        command.grace = COMMAND_GRACE;
        command.log_bytes_max = PRINTED_BYTES_MAX;
        // Nobody listens to what it prints.
        let (reports, _, _) = process::Reports::channels();
        let output = process::run(&command, &self.host, reports, std::future::pending()).await;
        let output = output.map_err(|error| error.to_string())?;
        match output.stopped {
            Some(stop) => Err(stop.to_string()),
            None if output.exit.is_success() => Ok(()),
            None => Err(output.exit.to_string()),
        }
    }

    async fn tell(&self, report: &Report) {
        if let Err(why) = self.run(report).await {
            let program = self.argv[0].to_string_lossy();
            tracing::error!(%program, why, "the command that is told of failures failed; it was to tell: {report}");
        }
    }
}

impl Reporter for CommandReporter {
    async fn failed(&self, report: &Report) {
        if !self.only_final {
            self.tell(report).await;
        }
    }

    async fn gave_up(&self, report: &Report) {
        // The call before has said that it is final.
        if self.only_final {
            self.tell(report).await;
        }
    }
}

struct EnvTiming(Env);

impl Timing for EnvTiming {
    fn monotonic_us(&self) -> u64 {
        self.0.monotonic_us()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.0.sleep(duration)
    }
}

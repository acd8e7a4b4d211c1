//! How a command ended, in types and in words.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::memory::OomEvidence;
use taskwright_core::Usage;
use taskwright_core::resource::Passed;
use taskwright_core::size::Bytes;

/// What a shell answers when the last program it ran was killed by KILL: 128 + 9.
const SHELL_CODE_KILLED: i32 = 128 + libc::SIGKILL;

/// Why a running command was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// It ran longer than its timeout.
    Timeout,
    /// Its tree of processes used more than it may.
    Limit(Passed),
    /// Somebody cancelled the job.
    Cancelled,
    /// The worker shuts down.
    Shutdown,
    /// The attempt is no longer ours: another worker has taken over.
    Fenced,
}

impl Stop {
    /// Whether the tree is to be killed at once: one that takes memory goes on taking it while it is asked to stop.
    pub(super) fn is_urgent(self) -> bool {
        matches!(self, Self::Limit(Passed::Memory { .. }))
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Limit(passed) => return passed.fmt(f),
            Self::Timeout => "timed out",
            Self::Cancelled => "cancelled",
            Self::Shutdown => "the worker shuts down",
            Self::Fenced => "the worker has lost it, or cannot renew its lease",
        })
    }
}

/// How the command itself (not its descendants) ended. `Display` says it in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// It ended by itself with this code; 0 means success.
    Code(i32),
    /// A signal of this number killed it.
    Signal(i32),
    /// The kernel killed it, or the last program it ran, because its memory group reached its limit.
    OutOfMemory {
        /// The limit of the memory group, where it has one.
        limit_bytes: Option<u64>,
    },
    /// It was killed without a request of ours while the machine ran out of memory.
    ProbablyOutOfMemory,
    /// It is still there: the system did not let us kill it, or it hangs in the kernel.
    Unkillable,
    /// It has ended, but nobody knows how: something else in this process took its exit status.
    Unknown,
}

impl Exit {
    /// Whether the command ended by itself with code 0.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Code(0))
    }

    /// Puts the raw wait status and what is known about memory into one verdict.
    ///
    /// A KILL that we sent is never blamed on the memory.
    pub(super) fn from_status(raw: i32, killed_by_us: bool, oom: OomEvidence) -> Self {
        let status = ExitStatus::from_raw(raw);
        match (status.code(), status.signal(), oom) {
            (Some(SHELL_CODE_KILLED), _, OomEvidence::Group { limit_bytes }) if !killed_by_us => {
                Self::OutOfMemory { limit_bytes }
            }
            (Some(code), _, _) => Self::Code(code),
            (None, Some(libc::SIGKILL), OomEvidence::Group { limit_bytes }) if !killed_by_us => {
                Self::OutOfMemory { limit_bytes }
            }
            (None, Some(libc::SIGKILL), OomEvidence::Machine) if !killed_by_us => Self::ProbablyOutOfMemory,
            (None, Some(signal), _) => Self::Signal(signal),
            // Only a stopped or continued process has neither, and we never wait for those.
            (None, None, _) => Self::Unknown,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => write!(f, "killed by {}", SignalName(*number)),
            Self::OutOfMemory { limit_bytes: Some(limit) } => {
                write!(f, "killed: out of memory (limit {})", Bytes(*limit))
            }
            Self::OutOfMemory { limit_bytes: None } => f.write_str("killed: out of memory"),
            Self::ProbablyOutOfMemory => {
                write!(f, "killed by {}, probably out of memory", SignalName(libc::SIGKILL))
            }
            Self::Unkillable => f.write_str("still running: the system did not let us kill it"),
            Self::Unknown => f.write_str("ended, but something else took its exit status"),
        }
    }
}

/// The end of one execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How the command ended.
    pub exit: Exit,
    /// Why it was told to stop, if it was. It may still have ended with a code of its own choice.
    pub stopped: Option<Stop>,
    /// What it used.
    pub usage: Usage,
    /// From the request to start the command to the end of its tree, in microseconds.
    pub wall_us: u64,
    /// How many bytes of its output were not delivered: above the limit, or nobody took them.
    pub log_dropped: u64,
    /// The processes of its tree that could not be killed. Empty but for processes of other users and for
    /// ones that hang in the kernel.
    pub survivors: Vec<u32>,
}

/// A signal as people know it: `signal 9 (KILL)`.
struct SignalName(i32);

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            libc::SIGHUP => "HUP",
            libc::SIGINT => "INT",
            libc::SIGQUIT => "QUIT",
            libc::SIGILL => "ILL",
            libc::SIGTRAP => "TRAP",
            libc::SIGABRT => "ABRT",
            libc::SIGBUS => "BUS",
            libc::SIGFPE => "FPE",
            libc::SIGKILL => "KILL",
            libc::SIGUSR1 => "USR1",
            libc::SIGSEGV => "SEGV",
            libc::SIGUSR2 => "USR2",
            libc::SIGPIPE => "PIPE",
            libc::SIGALRM => "ALRM",
            libc::SIGTERM => "TERM",
            libc::SIGXCPU => "XCPU",
            libc::SIGXFSZ => "XFSZ",
            libc::SIGVTALRM => "VTALRM",
            libc::SIGPROF => "PROF",
            libc::SIGSYS => "SYS",
            other => return write!(f, "signal {other}"),
        };
        write!(f, "signal {} ({name})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: i32 = libc::SIGKILL;

    fn exited(code: i32) -> i32 {
        code << 8
    }

    #[test]
    fn an_exit_reads_like_a_sentence() {
        let limit_bytes = Some(30 << 20);
        for (exit, words) in [
            (Exit::Code(3), "exit code 3"),
            (Exit::Signal(9), "killed by signal 9 (KILL)"),
            (Exit::Signal(40), "killed by signal 40"),
            (Exit::OutOfMemory { limit_bytes: None }, "killed: out of memory"),
            (Exit::OutOfMemory { limit_bytes }, "killed: out of memory (limit 30 MiB)"),
            (Exit::ProbablyOutOfMemory, "killed by signal 9 (KILL), probably out of memory"),
        ] {
            assert_eq!(exit.to_string(), words);
        }
    }

    #[test]
    fn a_kill_of_ours_is_not_blamed_on_the_memory() {
        let group = OomEvidence::Group { limit_bytes: None };
        assert_eq!(Exit::from_status(KILLED, true, group), Exit::Signal(9));
        assert_eq!(Exit::from_status(KILLED, true, OomEvidence::Machine), Exit::Signal(9));
        assert_eq!(Exit::from_status(KILLED, false, OomEvidence::None), Exit::Signal(9));
    }

    #[test]
    fn a_kill_is_explained_by_the_memory_where_a_counter_rose() {
        let group = OomEvidence::Group { limit_bytes: Some(7) };
        assert_eq!(Exit::from_status(KILLED, false, group), Exit::OutOfMemory { limit_bytes: Some(7) });
        assert_eq!(Exit::from_status(KILLED, false, OomEvidence::Machine), Exit::ProbablyOutOfMemory);
    }

    #[test]
    fn a_shell_that_reports_a_killed_program_is_understood_only_with_evidence_of_its_own_group() {
        let group = OomEvidence::Group { limit_bytes: None };
        assert_eq!(Exit::from_status(exited(137), false, group), Exit::OutOfMemory { limit_bytes: None });
        assert_eq!(Exit::from_status(exited(137), false, OomEvidence::Machine), Exit::Code(137));
        assert_eq!(Exit::from_status(exited(1), false, group), Exit::Code(1));
    }
}

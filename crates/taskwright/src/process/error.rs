//! Why a command could not be started: what happened, why, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why a command could not be started.
///
/// Nothing ran: an attempt that meets one of these has had no effect outside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no such program.
    #[error("command not found: {program} ({}); install it, or give its full path", search(.program, .looked_for))]
    NotFound {
        /// The program as it was asked for.
        program: String,
        /// The files that were tried.
        looked_for: Vec<PathBuf>,
    },
    /// There is such a file, but it cannot be run.
    #[error("cannot run {}: {why}", .path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: &'static str,
    },
    /// The directory to start in cannot be used.
    #[error("cannot start in the directory {}: {why}; correct the `cwd` of the command", .path.display())]
    BadDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file is not a program of this machine.
    #[error(
        "cannot run {}: it is not a program for this machine (built for another architecture, or a script without a \
         `#!` line); rebuild it, or name its interpreter as the program",
        .path.display()
    )]
    WrongFormat {
        /// The file.
        path: PathBuf,
    },
    /// The script or program names an interpreter or loader that does not exist.
    #[error(
        "cannot run {}: the interpreter that it names does not exist; install it, or correct the `#!` line of the \
         script",
        .path.display()
    )]
    NoInterpreter {
        /// The script or program.
        path: PathBuf,
    },
    /// An argument or a variable cannot be passed to a program.
    #[error("cannot pass {what} to a program: {why}")]
    BadText {
        /// Which one.
        what: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The arguments and the environment are too long.
    #[error(
        "the arguments and the environment of {program} are too long for this system ({bytes} bytes; one argument \
         may have about 128 KiB); pass large data by `stdin` or in a file"
    )]
    ArgsTooLong {
        /// The program as it was asked for.
        program: String,
        /// Their length together, in bytes.
        bytes: usize,
    },
    /// The system allows no more processes.
    #[error(
        "cannot start {program}: too many processes; run less at the same time, or raise the limit (`ulimit -u`)"
    )]
    TooManyProcesses {
        /// The program as it was asked for.
        program: String,
    },
    /// The system allows no more open files.
    #[error(
        "cannot start {program}: too many open files; run less at the same time, or raise the limit (`ulimit -n`)"
    )]
    TooManyFiles {
        /// The program as it was asked for.
        program: String,
    },
    /// The system has no memory for another process.
    #[error("cannot start {program}: not enough memory for another process; run less at the same time")]
    NoMemory {
        /// The program as it was asked for.
        program: String,
    },
    /// The program is being written at the moment.
    #[error("cannot run {}: it is being written at the moment; try again when that is done", .path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The system refused for another reason.
    #[error("cannot start {program}: {why}")]
    Other {
        /// The program as it was asked for.
        program: String,
        /// The reason in the system's words.
        why: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

impl SpawnError {
    /// Whether the same command may well start later without anybody changing it: the machine was short of
    /// something.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::TooManyProcesses { .. }
                | Self::TooManyFiles { .. }
                | Self::NoMemory { .. }
                | Self::Busy { .. }
        )
    }

    /// Explains the error of a fork, or of the exec of an existing, executable file.
    pub(super) fn from_io(source: io::Error, program: &str, path: &Path, text_bytes: usize) -> Self {
        let (program, path) = (program.to_owned(), path.to_owned());
        match source.raw_os_error() {
            // The lookup has just seen the file itself, so what is missing is what the file names.
            Some(libc::ENOENT) => Self::NoInterpreter { path },
            Some(libc::EACCES | libc::EPERM) => Self::NotExecutable {
                path,
                why: "the system refuses it (file system mounted `noexec`, interpreter not executable, or a security \
                      policy); allow it, or run it from another place",
            },
            Some(libc::ENOEXEC) => Self::WrongFormat { path },
            Some(libc::E2BIG) => Self::ArgsTooLong { program, bytes: text_bytes },
            Some(libc::ETXTBSY) => Self::Busy { path },
            _ => Self::from_shortage(source, &program),
        }
    }

    /// Explains the error of anything that is set up around a command: pipes, threads, watches.
    pub(super) fn from_shortage(source: io::Error, program: &str) -> Self {
        let program = program.to_owned();
        match source.raw_os_error() {
            Some(libc::EAGAIN) => Self::TooManyProcesses { program },
            Some(libc::EMFILE | libc::ENFILE) => Self::TooManyFiles { program },
            Some(libc::ENOMEM) => Self::NoMemory { program },
            _ => Self::Other { program, why: words_of(&source), source },
        }
    }
}

/// The system's words for an error, without the number that `io::Error` appends.
pub(crate) fn words_of(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

/// Where a program was looked for. A `PATH` is long and known to whoever has set it: it is only counted.
fn search(program: &str, looked_for: &[PathBuf]) -> String {
    match looked_for {
        [] => "looked nowhere: `PATH` is empty".to_owned(),
        [path] if program.contains('/') => format!("looked for {}", path.display()),
        [_] => "looked in 1 directory of PATH".to_owned(),
        paths => format!("looked in {} directories of PATH", paths.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(errno: i32) -> SpawnError {
        SpawnError::from_io(io::Error::from_raw_os_error(errno), "tool", Path::new("/opt/tool"), 10)
    }

    #[test]
    fn no_message_shows_a_raw_error_number() {
        for errno in 1..134 {
            let message = explained(errno).to_string();
            assert!(!message.contains("os error"), "{errno}: {message}");
        }
    }

    #[test]
    fn a_shortage_of_the_machine_is_told_from_a_mistake_in_the_command() {
        assert!(matches!(explained(libc::EAGAIN), SpawnError::TooManyProcesses { .. }));
        assert!(matches!(explained(libc::EMFILE), SpawnError::TooManyFiles { .. }));
        assert!(matches!(explained(libc::ENOMEM), SpawnError::NoMemory { .. }));
        for errno in [libc::EAGAIN, libc::EMFILE, libc::ENOMEM, libc::ETXTBSY] {
            assert!(explained(errno).is_transient());
        }
        for errno in [libc::ENOENT, libc::EACCES, libc::ENOEXEC, libc::E2BIG, libc::EIO] {
            assert!(!explained(errno).is_transient());
        }
    }
}

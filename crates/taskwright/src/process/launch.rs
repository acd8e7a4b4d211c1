//! From a [`Command`] to what the kernel wants: strings without NUL, a file that exists, a directory that
//! exists.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Access, access};
use rustix::io::Errno;
use taskwright_core::Limits;

use super::PROGRESS_FD;
use super::command::Command;
use super::error::SpawnError;
use super::proc_fs::Stat;
use super::sys::Image;
use super::tree::tag_entry;

/// Marks the tree of a command that was given no tag.
const PRIVATE_TAG: &str = "TASKWRIGHT_RUN";
/// Where programs are looked for when the command gets no `PATH`.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// A command, ready to be started. Holds no reference to it, so that it can go to the thread that forks.
#[derive(Debug)]
pub(super) struct Launch {
    program: OsString,
    search: OsString,
    cwd: Option<PathBuf>,
    argv: Vec<CString>,
    env: Vec<CString>,
    pub(super) has_stdin: bool,
    pub(super) limits: Limits,
    /// The entry of the environment that marks the tree.
    pub(super) tag: Vec<u8>,
}

impl Launch {
    /// Collects and checks the strings; touches no file.
    ///
    /// # Errors
    ///
    /// [`SpawnError::BadText`] for an argument or a variable that no program can be given.
    pub(super) fn of(command: &Command) -> Result<Self, SpawnError> {
        let tag = command.tag.clone().unwrap_or_else(private_tag);
        let variables = environment(command, &tag);
        let search = variables.get(OsStr::new("PATH")).cloned().unwrap_or_else(|| PATH_DEFAULT.into());
        let name = command.arg0.as_ref().unwrap_or(&command.program);
        let words = [name].into_iter().chain(&command.args).enumerate();
        let name_of = |index| if index == 0 { "the program".to_owned() } else { format!("argument {index}") };
        Ok(Self {
            argv: words.map(|(index, word)| c_string(word, || name_of(index))).collect::<Result<_, _>>()?,
            env: variables.iter().map(|(name, value)| entry(name, value)).collect::<Result<_, _>>()?,
            program: command.program.clone(),
            search,
            cwd: command.cwd.clone(),
            has_stdin: !command.stdin.is_empty(),
            limits: command.limits,
            tag: tag_entry(&tag.0, &tag.1),
        })
    }

    /// The program as people asked for it.
    pub(super) fn shown(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// How long the arguments and the environment are together, in bytes.
    pub(super) fn text_bytes(&self) -> usize {
        self.argv.iter().chain(&self.env).map(|string| string.as_bytes_with_nul().len()).sum()
    }

    /// The directory to start in, made absolute and checked.
    ///
    /// # Errors
    ///
    /// [`SpawnError::BadDirectory`].
    pub(super) fn directory(&self) -> Result<Option<PathBuf>, SpawnError> {
        let Some(cwd) = &self.cwd else { return Ok(None) };
        let bad = |why| SpawnError::BadDirectory { path: cwd.clone(), why };
        // Absolute, because the program may be named relative to it, and is looked up before the change.
        let path = std::path::absolute(cwd).map_err(|_| bad("its name is empty"))?;
        match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_dir() => Err(bad("it is not a directory")),
            Ok(_) => match access(&path, Access::EXEC_OK) {
                Ok(()) => Ok(Some(path)),
                Err(_) => Err(bad("this user may not enter it")),
            },
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(bad("this user may not enter one of its parents"))
            }
            Err(_) => Err(bad("it does not exist")),
        }
    }

    /// Finds the file to run: as named when the name has a slash, otherwise along the `PATH` of the command.
    ///
    /// # Errors
    ///
    /// [`SpawnError::NotFound`] or [`SpawnError::NotExecutable`].
    pub(super) fn find(&self, directory: Option<&Path>) -> Result<PathBuf, SpawnError> {
        let base = directory.unwrap_or(Path::new(""));
        let is_path = self.program.as_bytes().contains(&b'/');
        let candidates: Vec<PathBuf> = if is_path {
            vec![base.join(&self.program)]
        } else if self.program.is_empty() {
            Vec::new()
        } else {
            std::env::split_paths(&self.search).map(|folder| base.join(folder).join(&self.program)).collect()
        };
        let mut refused = None;
        for path in &candidates {
            match check_executable(path) {
                Ok(()) => return Ok(path.clone()),
                Err(Refusal::HiddenFolder) if !is_path => {}
                Err(Refusal::Missing) => {}
                // Another folder of the `PATH` may still have one that can be run.
                Err(refusal) => refused = refused.or(Some((path.clone(), refusal.why()))),
            }
        }
        Err(match refused {
            Some((path, why)) => SpawnError::NotExecutable { path, why },
            None => SpawnError::NotFound { program: self.shown(), looked_for: candidates },
        })
    }

    /// What the new process turns into: the file that was found, with one more entry in its environment.
    ///
    /// # Errors
    ///
    /// [`SpawnError::BadText`].
    pub(super) fn into_image(mut self, path: &Path, entry: String) -> Result<Image, SpawnError> {
        self.env.push(c_string(OsStr::new(&entry), || "the environment".to_owned())?);
        let path = c_string(path.as_os_str(), || "the program".to_owned())?;
        Ok(Image::new(path, self.argv, self.env))
    }
}

/// Why a file cannot be run.
#[derive(Clone, Copy)]
enum Refusal {
    Missing,
    HiddenFolder,
    Directory,
    NotMarked,
    NotForThisUser,
}

impl Refusal {
    fn why(self) -> &'static str {
        match self {
            Self::Missing => "there is no such file",
            Self::HiddenFolder => {
                "permission denied: this user may not look into its folder; run as a user who may"
            }
            Self::Directory => "it is a directory; name a program in it",
            Self::NotMarked => "permission denied: the file is not executable; `chmod +x` it",
            Self::NotForThisUser => "permission denied: this user may not execute it; run as a user who may",
        }
    }
}

fn check_executable(path: &Path) -> Result<(), Refusal> {
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => Refusal::HiddenFolder,
        _ => Refusal::Missing,
    })?;
    if metadata.is_dir() {
        return Err(Refusal::Directory);
    }
    // The superuser passes the next check for every file, but cannot run what nobody may run.
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(Refusal::NotMarked);
    }
    match access(path, Access::EXEC_OK) {
        Err(Errno::ACCESS) => Err(Refusal::NotForThisUser),
        _ => Ok(()),
    }
}

/// What the command gets to see: the passed variables, then the given ones, then the mark.
fn environment(command: &Command, tag: &(String, String)) -> BTreeMap<OsString, OsString> {
    let mut variables: BTreeMap<OsString, OsString> =
        std::env::vars_os().filter(|(name, _)| command.passes(name)).collect();
    variables.extend(command.env.clone());
    // The progress variable is ours: the number is known only when the pipe exists.
    variables.remove(OsStr::new(PROGRESS_FD));
    variables.insert(tag.0.clone().into(), tag.1.clone().into());
    variables
}

/// A mark that no other command of this machine has: process, its start, count.
fn private_tag() -> (String, String) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let pid = rustix::process::getpid().as_raw_pid();
    let start = Stat::of(pid).map_or(0, |stat| stat.start);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    (PRIVATE_TAG.to_owned(), format!("{pid}-{start}-{count}"))
}

fn entry(name: &OsStr, value: &OsStr) -> Result<CString, SpawnError> {
    let what = || format!("the variable {}", name.display());
    if name.is_empty() || name.as_bytes().contains(&b'=') {
        return Err(SpawnError::BadText { what: what(), why: "its name is empty or holds a `=`; rename it" });
    }
    let mut entry = name.to_owned();
    entry.push("=");
    entry.push(value);
    c_string(&entry, what)
}

fn c_string(text: &OsStr, what: impl FnOnce() -> String) -> Result<CString, SpawnError> {
    let why = "it holds a NUL byte, which ends every argument; pass such data by `stdin`";
    CString::new(text.to_owned().into_vec()).map_err(|_| SpawnError::BadText { what: what(), why })
}

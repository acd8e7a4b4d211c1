//! Looking at a directory. All of it blocks, so it is called on a thread for that.

use std::fs::{Metadata, ReadDir};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use taskwright_core::Fingerprint;

use super::Files;
use super::pattern::counts;
use crate::process::words_of;

/// Bytes of a path below the directory of a source: 1,024. Longer ones are passed over, and told.
pub(crate) const PATH_BYTES_MAX: usize = 1_024;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    File(Fingerprint),
    Directory,
    /// A link, a pipe, a device: never an event.
    Other,
    Gone,
}

/// Looks at a path, without following it when it is a link.
pub(crate) fn look(path: &Path) -> io::Result<Look> {
    match std::fs::symlink_metadata(path) {
        Ok(facts) => Ok(of(&facts)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(Look::Gone),
            _ => Err(error),
        },
    }
}

fn of(facts: &Metadata) -> Look {
    let kind = facts.file_type();
    if kind.is_dir() {
        return Look::Directory;
    }
    if !kind.is_file() {
        return Look::Other;
    }
    let since_epoch =
        |time: std::time::SystemTime| i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok();
    Look::File(Fingerprint {
        size: facts.len(),
        modified_ns: facts.mtime().saturating_mul(1_000_000_000).saturating_add(facts.mtime_nsec()),
        inode: facts.ino(),
        born_ns: facts.created().ok().and_then(since_epoch),
    })
}

/// Which directory it is that a source looks at, be it behind a link: another one under its path has another answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root(u64, u64);

/// The directory of a source.
pub(crate) fn root(path: &Path) -> io::Result<Root> {
    let facts = std::fs::metadata(path)?;
    if facts.is_dir() { Ok(Root(facts.dev(), facts.ino())) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

/// A file that was found, by its path below the directory of the source.
pub(crate) struct Found {
    pub(crate) path: String,
    pub(crate) print: Fingerprint,
}

/// What could not be looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct PassedOver {
    count: u64,
    first: Option<String>,
}

impl PassedOver {
    fn add(&mut self, path: &Path, why: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("{}: {why}", path.display()));
    }

    /// In words, when there is anything.
    pub(crate) fn tell(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(match self.count {
            1 => format!("passed over {first}"),
            n => format!("passed over {n} files or directories, the first of them {first}"),
        })
    }
}

/// Walks the files of a directory, some at a time, with one directory open.
pub(crate) struct Walker {
    files: Arc<Files>,
    open: Option<(PathBuf, ReadDir)>,
    /// Directories that are still to be walked, by their paths below the one of the source.
    ahead: Vec<PathBuf>,
    pub(crate) passed_over: PassedOver,
}

impl Walker {
    /// Begins with a directory below that of the source, or with that itself, whose path is empty.
    pub(crate) fn new(files: Arc<Files>, from: PathBuf) -> Self {
        Self { files, open: None, ahead: vec![from], passed_over: PassedOver::default() }
    }

    /// The next files, at most `limit`; none when that was all.
    ///
    /// # Errors
    ///
    /// When the directory of the source itself cannot be read.
    pub(crate) fn next(&mut self, limit: usize) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        while found.len() < limit {
            let Some((below, entries)) = &mut self.open else {
                let Some(below) = self.ahead.pop() else { break };
                match std::fs::read_dir(self.files.path.join(&below)) {
                    Ok(entries) => self.open = Some((below, entries)),
                    Err(error) if below.as_os_str().is_empty() => return Err(error),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => self.passed_over.add(&below, &words_of(&error)),
                }
                continue;
            };
            let path = match entries.next() {
                Some(Ok(entry)) => below.join(entry.file_name()),
                Some(Err(error)) => {
                    // What else is there is seen at the next scan.
                    self.passed_over.add(below, &words_of(&error));
                    self.open = None;
                    continue;
                }
                None => {
                    self.open = None;
                    continue;
                }
            };
            self.take(path, &mut found);
        }
        Ok(found)
    }

    fn take(&mut self, path: PathBuf, found: &mut Vec<Found>) {
        match look(&self.files.path.join(&path)) {
            Ok(Look::Directory) if self.files.recursive => self.ahead.push(path),
            Ok(Look::File(print)) => match name(&path) {
                Ok(text) if counts(&self.files.patterns, text) => {
                    found.push(Found { path: text.to_owned(), print });
                }
                Ok(_) => {}
                Err(why) => self.passed_over.add(&path, why),
            },
            Ok(_) => {}
            Err(error) => self.passed_over.add(&path, &words_of(&error)),
        }
    }
}

/// The text of a path below the directory of a source.
pub(crate) fn name(path: &Path) -> Result<&str, &'static str> {
    let text = path.to_str().ok_or("its name is not UTF-8")?;
    if text.len() > PATH_BYTES_MAX { Err("its path is longer than 1,024 bytes") } else { Ok(text) }
}

/// Looks at files by their paths below the directory of a source, which must be the same one before and after: when it
/// is unmounted or moved away, nothing in it is gone.
///
/// # Errors
///
/// When the directory is not there, or is another one.
pub(crate) fn look_at(files: &Files, paths: &[String], expected: Root) -> io::Result<Vec<io::Result<Look>>> {
    let looks = paths.iter().map(|path| look(&files.path.join(path))).collect();
    if root(&files.path)? != expected {
        return Err(io::Error::other("another directory has taken its place"));
    }
    Ok(looks)
}

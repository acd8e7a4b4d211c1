//! The directory in which the workers of one machine show each other that they live.
//!
//! Files are locked there (see [`presence`](crate::presence)), and a lock is seen by every process that sees the file.
//! Two processes that do not share the directory (another machine, another container of this one, another user) cannot
//! see each other's locks. So a worker is registered under the machine's boot *and* the directory; who finds another pair
//! than his own goes by the lease.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Area, Error};
use crate::presence;

/// Makes the directory if it is missing, and gives it with the name of the pair. `random` becomes its name if it has none.
///
/// # Errors
///
/// When it cannot be made or written, or belongs to somebody else, who could then pretend that workers live or died.
pub(super) fn enter(directory: &Path, random: &str) -> Result<(PathBuf, String), Error> {
    let explain = |error: io::Error| {
        Error::new(
            Area::Unreachable,
            format!("the run directory {}", directory.display()),
            "it cannot be made or written by this user",
            "name another one in `run_dir`, or give this user the right to it",
        )
        .with_source(error)
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(explain)?;
    let owner = std::fs::metadata(directory).map_err(explain)?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(Error::new(
            Area::Unreachable,
            format!("the run directory {}", directory.display()),
            "it belongs to another user",
            "name another one in `run_dir`, which only this user can write",
        ));
    }
    let name = name(directory, random).map_err(explain)?;
    Ok((directory.to_owned(), format!("{} {name}", presence::boot_id())))
}

/// The name that the first process gave the directory.
fn name(directory: &Path, random: &str) -> io::Result<String> {
    let path = directory.join("name");
    // It appears whole: written aside first, then linked, which fails when it is there.
    let aside = directory.join(format!("name.{random}"));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?.write_all(random.as_bytes())?;
    let linked = std::fs::hard_link(&aside, &path);
    std::fs::remove_file(&aside)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => std::fs::read_to_string(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_later_finds_the_name_that_the_first_one_gave() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("store");
        let (_, first) = enter(&place, "one").unwrap();
        let (_, second) = enter(&place, "two").unwrap();
        assert!(first.ends_with(" one") && first == second, "{first}, {second}");
        assert_eq!(std::fs::read_dir(place).unwrap().count(), 1);
    }
}

//! Where the workers of this machine show each other that they live, when their store is not here: the run directory of a
//! PostgreSQL store. An SQLite store has its own beside its file.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use taskwright_core::Error as Refused;
use taskwright_core::error::in_words;

use crate::error::Error;

/// What others may do in a directory that is only ours.
const OTHERS: u32 = 0o077;

/// The directory that was named, or else a default that belongs to this user: `$XDG_RUNTIME_DIR/taskwright`, or
/// `taskwright-UID` in the system's directory for temporary files. Made if it is missing, for this user only.
///
/// # Errors
///
/// When it cannot be made; when the default in the directory for temporary files is somebody else's, or open to others.
pub fn enter(named: Option<&Path>) -> Result<PathBuf, Error> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    match (named, runtime) {
        (Some(named), _) => make(named.to_owned()),
        (None, Some(runtime)) if runtime.is_dir() => make(runtime.join("taskwright")),
        (None, _) => own(&std::env::temp_dir()),
    }
}

fn make(directory: PathBuf) -> Result<PathBuf, Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(|error| refuse(&directory, in_words(&error)))?;
    Ok(directory)
}

/// A directory of this user in a place where everybody can make one, and so might have made this.
fn own(shared: &Path) -> Result<PathBuf, Error> {
    let user = rustix::process::geteuid().as_raw();
    let directory = shared.join(format!("taskwright-{user}"));
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(refuse(&directory, in_words(&error)));
        }
        _ => {}
    }
    // Of a link itself, not of where it leads.
    let found =
        std::fs::symlink_metadata(&directory).map_err(|error| refuse(&directory, in_words(&error)))?;
    if !found.is_dir() || found.uid() != user {
        return Err(refuse(&directory, "somebody else made it".to_owned()));
    }
    if found.mode() & OTHERS != 0 {
        return Err(refuse(&directory, "others may enter it".to_owned()));
    }
    Ok(directory)
}

fn refuse(directory: &Path, why: String) -> Error {
    Refused::invalid(
        format!("the run directory {}", directory.display()),
        why,
        "name one that only this user can write: --run-dir DIR, or `run_dir` in [store]",
    )
    .into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_that_is_named_is_made_for_this_user_only() {
        let place = tempfile::tempdir().unwrap();
        let made = enter(Some(&place.path().join("a/b"))).unwrap();
        assert_eq!(std::fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        assert_eq!(enter(Some(&made)).unwrap(), made);
    }

    #[test]
    fn one_in_a_shared_place_must_be_ours_and_closed_to_others() {
        let shared = tempfile::tempdir().unwrap();
        let made = own(shared.path()).unwrap();
        assert_eq!(std::fs::metadata(&made).unwrap().mode() & 0o777, 0o700);
        assert_eq!(own(shared.path()).unwrap(), made);
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(own(shared.path()).unwrap_err().to_string().contains("others may enter it"));
        std::fs::remove_dir(&made).unwrap();
        std::os::unix::fs::symlink("/tmp", &made).unwrap();
        assert!(own(shared.path()).unwrap_err().to_string().contains("somebody else made it"));
    }
}

//! What cannot be opened is refused with a message that names it, and what is there is left as it was.

use std::path::Path;

use taskwright_store::Error;
use taskwright_store::sqlite::{Options, SqliteStore};

fn refused(path: &Path) -> Error {
    let error = SqliteStore::open(path, Options::default()).err().unwrap();
    assert!(error.to_string().contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
    assert!(!error.fix().is_empty());
    error
}

#[test]
fn a_directory_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    std::fs::create_dir(&path).unwrap();
    assert_eq!(refused(&path).why(), "it is a directory");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing was left beside it");
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    let text = "Dear diary, today I was nearly taken for a database.\n".repeat(40);
    std::fs::write(&path, &text).unwrap();
    let error = refused(&path);
    assert!(error.is_damaged(), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_file_in_the_way_of_a_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = SqliteStore::open(&file.join("taskwright.db"), Options::default()).err().unwrap();
    assert_eq!(error.why(), "a file is in the way");
    assert!(error.what().contains(file.to_str().unwrap()));
}

/// `/sys` takes no new directory from anybody, not even from root, who may write where no bit allows it.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_cannot_be_written_is_read_only() {
    let error =
        SqliteStore::open(Path::new("/sys/taskwright-test/taskwright.db"), Options::default()).err().unwrap();
    assert!(error.is_read_only(), "{error}");
    assert!(error.what().contains("/sys/taskwright-test"), "{error}");
}

#[test]
fn a_missing_directory_is_made_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/taskwright.db");
    SqliteStore::open(&path, Options::default()).unwrap();
    let mode = std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}

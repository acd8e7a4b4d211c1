//! Small file systems that a test may fill.
#![allow(dead_code, reason = "each test uses its part")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set where a test runs as root of a namespace of its own.
const INSIDE: &str = "TASKWRIGHT_TEST_MAY_MOUNT";

/// A file system in memory, mounted over a directory until it is dropped.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts one with these options of tmpfs, for instance `size=400k`.
    pub(crate) fn mount(at: &Path, options: &str) -> Self {
        mount(&["-t", "tmpfs", "-o", options, "tmpfs"], at);
        Self(at.to_owned())
    }

    /// Leaves no space.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.0.join("filler")).unwrap();
        let error = loop {
            if let Err(error) = filler.write(&[b'x'; 512]) {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }

    /// Leaves space, and no room for another file.
    pub(crate) fn fill_with_files(&self) {
        let error = (0..).find_map(|number| File::create(self.0.join(format!("filler{number}"))).err());
        assert_eq!(error.unwrap().kind(), std::io::ErrorKind::StorageFull);
    }

    /// Lets nobody write: by the mount (`bind`), because a namespace may not change the file system itself.
    pub(crate) fn seal(&self) {
        mount(&["-o", "remount,bind,ro"], &self.0);
    }

    /// Undoes all that.
    pub(crate) fn free(&self) {
        mount(&["-o", "remount,bind,rw"], &self.0);
        for entry in std::fs::read_dir(&self.0).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("filler") {
                std::fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there must not keep the directory from being removed.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mount(args: &[&str], at: &Path) {
    let output = Command::new("mount").args(args).arg(at).output().unwrap();
    assert!(output.status.success(), "mount {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether the test of this name may mount, and so is to go on here. Otherwise it is run by root of a namespace of its
/// own, if the system has such; a test that cannot be run at all says so.
pub(crate) fn may_mount(test: &str) -> bool {
    const PROBE: &str = "mount -t tmpfs tmpfs \"$0\" && umount \"$0\"";
    let directory = tempfile::tempdir().unwrap();
    let can = |mut command: Command| {
        let command = command.args(["-c", PROBE]).arg(directory.path());
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if std::env::var_os(INSIDE).is_some() || can(Command::new("sh")) {
        return true;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]);
        command
    };
    let mut shell = unshare();
    shell.arg("sh");
    if !can(shell) {
        eprintln!("SKIPPED {test}: this user may mount nothing, not even in a namespace of its own");
        return false;
    }
    let mut again = unshare();
    again.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    assert!(again.status().unwrap().success(), "{test} failed in a namespace of its own");
    false
}

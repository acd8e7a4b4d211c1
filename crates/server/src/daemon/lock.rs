//! One `up` at a time per store: a locked file beside it that names the process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::error::{Error, in_words};
use crate::store_url::StoreUrl;

/// Held for as long as the daemon runs; the kernel gives it back when the process ends, however it ends.
pub(super) struct Lock {
    file: Option<File>,
}

impl Lock {
    /// Another handle of it, to be handed on: the lock is held for as long as anybody has one.
    ///
    /// # Errors
    ///
    /// When the process has as many files as it may.
    pub(super) fn handle(&self) -> std::io::Result<Option<std::os::fd::OwnedFd>> {
        self.file.as_ref().map(|file| file.try_clone().map(Into::into)).transpose()
    }

    /// Names this process to whoever is refused the lock: for one that has taken another's place, and not before it has.
    pub(super) fn sign(&self) {
        if let Some(file) = &self.file {
            // Who holds it is a help and no more.
            let _ = sign(file);
        }
    }
}

/// Goes on with the lock of a process whose place this one is to take: that one is named in it until then.
pub(super) fn adopt(file: File) -> Lock {
    Lock { file: Some(file) }
}

fn sign(mut file: &File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// How often it is looked whether the lock of a process that is gone is free, and how long between the looks.
const LOOKS_MAX: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Whether there is no process of this number.
fn is_gone(pid: &str) -> bool {
    let pid = pid.parse().ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

/// Waits for a lock whose holder is gone: what it was starting when it was killed has the lock with it, until that is a program of its
/// own. With one that lives it gives up at once.
///
/// # Errors
///
/// Who has it.
fn wait(mut try_lock: impl FnMut() -> bool, holder: impl Fn() -> String) -> Result<(), String> {
    for look in 1.. {
        if try_lock() {
            break;
        }
        let holder = holder();
        if look == LOOKS_MAX || !is_gone(&holder) {
            return Err(holder);
        }
        std::thread::park_timeout(LOOK_PAUSE);
    }
    Ok(())
}

/// Takes the lock.
///
/// # Errors
///
/// When another `up` has it; its process is named.
pub(super) fn take(store: &StoreUrl) -> Result<Lock, Error> {
    let StoreUrl::Sqlite(path) = store else { return Ok(Lock { file: None }) };
    let mut beside = path.clone().into_os_string();
    beside.push("-run/up.lock");
    let beside = Path::new(&beside);
    let cannot = |error: std::io::Error| {
        Error::operational(
            format!("the lock file {}", beside.display()),
            in_words(&error),
            "check the rights of this user in that directory",
        )
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(beside)
        .map_err(cannot)?;
    let try_lock = || flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    let holder = || {
        let (mut file, mut holder) = (&file, String::new());
        // Who it is, is a help and no more.
        let _ = file.rewind().and_then(|()| file.read_to_string(&mut holder));
        holder.trim().to_owned()
    };
    if let Err(holder) = wait(try_lock, holder) {
        let pid = if holder.is_empty() { "?" } else { &holder };
        return Err(Error::operational(
            format!("`up` on {store}"),
            format!("another `up` runs on it already (process {pid})"),
            format!(
                "use that one, take its place with --replace, stop it with `kill {pid}`, or add workers with `taskwright worker`"
            ),
        ));
    }
    sign(&file).map_err(cannot)?;
    Ok(Lock { file: Some(file) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of a process that has ended, and was waited for.
    fn of_the_dead() -> String {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id().to_string()
    }

    #[test]
    fn the_lock_of_a_process_that_is_gone_is_waited_for_and_that_of_one_that_lives_is_not() {
        let (dead, alive) = (of_the_dead(), std::process::id().to_string());
        let mut tries = 0;
        let third = || {
            tries += 1;
            tries == 3
        };
        assert_eq!(wait(third, || dead.clone()), Ok(()));
        for holder in [alive, String::new(), "nobody".to_owned()] {
            let mut tries = 0;
            let never = || {
                tries += 1;
                false
            };
            assert_eq!((wait(never, || holder.clone()), tries), (Err(holder.clone()), 1));
        }
    }
}

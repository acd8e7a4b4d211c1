//! Hints between the processes of one machine: a file in their run directory that is touched after a commit, and watched.
//! The server, which tells everybody else, needs two switches between processes more for that.

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

/// How many bytes tell who has touched the file last.
const WHO_BYTES: usize = 8;

/// The file, as one process uses it.
pub(super) struct Near {
    path: PathBuf,
    file: Option<File>,
    /// What tells this handle from others.
    who: [u8; WHO_BYTES],
    /// What tells the directory from those of other machines.
    place: String,
}

impl Near {
    /// In this directory, which `place` tells from all others. Without the file all are told by the server.
    pub(super) fn open(directory: &Path, place: &str, who: u64) -> Self {
        let path = directory.join("hints");
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.inspect_err(
            |error| tracing::debug!(%error, "the server tells of new jobs on this machine, too"),
        );
        Self { path, file: file.ok(), who: who.to_ne_bytes(), place: place.to_owned() }
    }

    /// Tells the others of this machine; the place that is told if that is done.
    pub(super) fn touch(&self) -> Option<&str> {
        let touched = self.file.as_ref()?.write_at(&self.who, 0);
        touched.is_ok().then_some(self.place.as_str())
    }

    /// Begins to hear the others; `None` where files cannot be watched.
    pub(super) fn watch(&self) -> Option<Watch<'_>> {
        let file = self.file.as_ref()?;
        let watching = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .and_then(|events| {
                inotify::add_watch(&events, &self.path, inotify::WatchFlags::MODIFY).map(|_| events)
            })
            .map_err(std::io::Error::from)
            .and_then(watched)
            .inspect_err(
                |error| tracing::debug!(%error, "the server tells of new jobs on this machine, too"),
            );
        Some(Watch { events: watching.ok()?, file, near: self })
    }
}

/// Hears the others of this machine.
pub(super) struct Watch<'a> {
    events: AsyncFd<OwnedFd>,
    file: &'a File,
    near: &'a Near,
}

impl Watch<'_> {
    /// The place of which is heard so.
    pub(super) fn place(&self) -> &str {
        &self.near.place
    }

    /// Is ready when another process has touched the file.
    pub(super) async fn touched(&self) {
        loop {
            match self.events.readable().await {
                Ok(mut ready) => {
                    drain(&self.events);
                    ready.clear_ready();
                }
                // The runtime ends.
                Err(_) => std::future::pending().await,
            }
            // One of this process that came after another's hides that one: it is found at a glance.
            let mut who = [0; WHO_BYTES];
            let read = self.file.read_exact_at(&mut who, 0);
            if read.is_err() || who != self.near.who {
                return;
            }
        }
    }
}

/// The events of a watch, to be waited for.
#[allow(
    deprecated,
    reason = "an `OwnedFd` stays what it is, which is what the other constructor has the caller vouch for"
)]
fn watched(events: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(events)
}

/// Reads away what has gathered; that there was something is all that matters.
fn drain(events: &AsyncFd<OwnedFd>) {
    let mut buffer = [0; 4_096];
    while matches!(rustix::io::read(events, &mut buffer), Ok(1..)) {}
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use super::*;
    use crate::postgres::wake::pause_for;

    #[tokio::test]
    async fn a_touch_is_heard_by_all_others_of_the_place_and_not_by_who_touched() {
        let directory = tempfile::tempdir().unwrap();
        let open = |who| Near::open(directory.path(), "here", who);
        let (one, two, three) = (open(1), open(2), open(3));
        let (ears_of_one, ears_of_two) = (one.watch().unwrap(), two.watch().unwrap());
        assert_eq!(three.touch(), Some("here"));
        ears_of_one.touched().await;
        ears_of_two.touched().await;

        one.touch();
        ears_of_two.touched().await;
        let mut own = pin!(ears_of_one.touched());
        tokio::select! {
            biased;
            () = &mut own => panic!("it heard itself"),
            () = pause_for(Duration::from_millis(50)) => {}
        }
        two.touch();
        own.await;
    }

    #[test]
    fn without_a_directory_nobody_is_told() {
        let near = Near::open(Path::new("/nowhere/at/all"), "here", 1);
        assert!(near.touch().is_none() && near.watch().is_none());
    }
}

//! The hints of the system that something happened in a directory.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::Files;
use crate::process::words_of;

/// Paths that hints name before a scan is asked for instead: 10,000.
const PATHS_MAX: usize = 10_000;

/// What was hinted at and not looked at yet.
#[derive(Default)]
pub(super) struct Hints {
    waiting: Mutex<Waiting>,
    /// Told when there is something after there was nothing.
    pub(super) asked: Arc<Notify>,
}

/// See [`Hints`].
#[derive(Default)]
pub(super) struct Waiting {
    /// What to look at.
    pub(super) paths: HashSet<PathBuf>,
    /// Whether to look at everything: hints were lost.
    pub(super) all: bool,
}

impl Hints {
    /// Takes what there is.
    pub(super) fn take(&self) -> Waiting {
        std::mem::take(&mut *self.lock())
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        let waiting = self.lock();
        waiting.paths.is_empty() && !waiting.all
    }

    /// Asks for a look at these.
    pub(super) fn add(&self, paths: impl IntoIterator<Item = PathBuf>) {
        self.change(|waiting| waiting.paths.extend(paths));
    }

    /// Asks for a look at everything.
    pub(super) fn add_all(&self) {
        self.change(|waiting| waiting.all = true);
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.lock();
        let was_empty = waiting.paths.is_empty() && !waiting.all;
        change(&mut waiting);
        if waiting.paths.len() > PATHS_MAX || waiting.all {
            *waiting = Waiting { paths: HashSet::new(), all: true };
        }
        let is_empty = waiting.paths.is_empty() && !waiting.all;
        drop(waiting);
        if was_empty && !is_empty {
            self.asked.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: notify::Result<Event>) {
        match event {
            // Lost hints, among other things: whatever it is, a scan makes it good.
            Err(_) => self.add_all(),
            Ok(event) if event.need_rescan() => self.add_all(),
            Ok(event) => {
                if tells_of_writing(event.kind) {
                    self.add(event.paths);
                }
            }
        }
    }
}

/// Who only reads changes nothing.
fn tells_of_writing(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// A watched directory; dropping the value ends the watch.
pub(super) struct Watch {
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Begins to watch. Blocks while a tree is walked.
    ///
    /// # Errors
    ///
    /// What keeps the system from watching, and what to do about it.
    pub(super) fn start(files: &Files, hints: &Arc<Hints>) -> Result<Self, String> {
        let hear = {
            let hints = Arc::clone(hints);
            move |event| hints.hear(event)
        };
        let config = notify::Config::default().with_follow_symlinks(false);
        let mode = if files.recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        let watch = || {
            let mut watcher = RecommendedWatcher::new(hear, config)?;
            watcher.watch(&files.path, mode)?;
            Ok(Self { _watcher: watcher })
        };
        watch().map_err(|error| in_words(&error))
    }
}

fn in_words(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "this user has no watch left: raise the sysctl fs.inotify.max_user_watches".to_owned()
        }
        ErrorKind::Io(io) if io.raw_os_error() == Some(libc::EMFILE) => {
            "this user has no watcher or this process no file left: raise the sysctl fs.inotify.max_user_instances, or \
             `ulimit -n`"
                .to_owned()
        }
        ErrorKind::Io(io) => words_of(io),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(paths: &[&str]) -> Event {
        let event = Event::new(EventKind::Create(notify::event::CreateKind::File));
        paths.iter().fold(event, |event, path| event.add_path(path.into()))
    }

    #[test]
    fn hints_are_gathered_and_reading_is_none() {
        let hints = Hints::default();
        hints.hear(Ok(event(&["/a", "/b"])));
        hints.hear(Ok(event(&["/a"])));
        hints.hear(Ok(Event { kind: EventKind::Access(AccessKind::Read), ..event(&["/c"]) }));
        let waiting = hints.take();
        assert_eq!((waiting.paths.len(), waiting.all), (2, false));
        assert!(hints.take().paths.is_empty());
    }

    #[test]
    fn lost_hints_and_too_many_ask_for_a_scan() {
        let hints = Hints::default();
        hints.hear(Ok(event(&["/a"]).set_flag(notify::event::Flag::Rescan)));
        assert!(hints.take().all);
        hints.hear(Err(notify::Error::generic("broken")));
        assert!(hints.take().all);
        hints.add((0..=PATHS_MAX).map(|n| n.to_string().into()));
        let waiting = hints.take();
        assert!(waiting.all && waiting.paths.is_empty());
    }

    #[test]
    fn no_watch_left_names_the_setting() {
        assert!(in_words(&notify::Error::new(ErrorKind::MaxFilesWatch)).contains("max_user_watches"));
        let none = notify::Error::io(std::io::Error::from_raw_os_error(libc::EMFILE));
        assert!(in_words(&none).contains("max_user_instances"));
    }
}

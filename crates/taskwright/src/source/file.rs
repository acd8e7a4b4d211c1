//! Tells of files of a directory that were created or changed.
//!
//! There is one way for the hint and for the scan. Files are *looked at*, those that a hint names or all; one that differs
//! from what was seen is watched until it stands still; then it is told, and remembered, in one call of the store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use taskwright_core::limit::{SIGHTINGS_MAX, check_event_key};
use taskwright_core::source::Standing;
use taskwright_core::{FileChange, Fingerprint, Timestamp};
use taskwright_store::{Error, NewEvent, Reply, SharedStore, Sighting, SourceKey, SourceNote, SourcePlace};
use tokio::sync::{Mutex, Notify};

use super::pattern::{counts, name_of};
use super::scan::{Found, Look, Root, Walker, look_at, name, root};
use super::watch::{Hints, Watch};
use super::{EventSource, Files};
use crate::duty::runner::{Duty, Next};
use crate::env::{Env, micros};
use crate::event::Event;
use crate::process::words_of;

/// The shortest and the longest time between two looks that hints ask for. In between it is half the debounce.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// The shortest time between two scans where the system gives no hints: 1 s.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// A scan that hints or polling ask for may take this share of the time: one in 10.
const SCAN_SHARE: u32 = 10;
/// The time to the next try when the directory cannot be looked at: 5 s.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// How often the store is told how the source is, when nothing has changed: 60 s.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// A source of files.
pub(crate) struct FileSource {
    store: SharedStore,
    source: EventSource,
    files: Arc<Files>,
    place: SourcePlace,
    hints: Arc<Hints>,
    state: Mutex<State>,
}

/// What is known between two looks. Nothing of it is needed after a restart.
#[derive(Default)]
struct State {
    key: Option<SourceKey>,
    /// Files that differ from what was seen, until they stand still.
    standing: HashMap<String, Differs>,
    /// The directory that the last scan found.
    root: Option<Root>,
    /// What the system tells of that directory, or why it does not.
    watch: Option<Result<Watch, String>>,
    /// In monotonic microseconds: not before, and at the latest.
    next_look_us: u64,
    next_scan_us: u64,
    next_watch_us: u64,
    scanned_at: Option<Timestamp>,
    files: u64,
    noted: Option<(Noted, u64)>,
}

/// What was last said of the source: its mode, and what is wrong.
type Noted = (&'static str, Option<String>);

struct Differs {
    standing: Standing,
    before: Option<Fingerprint>,
}

/// Why a look did not take place.
enum Trouble {
    /// The directory could not be looked at: no matter for the runner.
    Directory(String),
    Store(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Directory(words_of(&error))
    }
}

impl FileSource {
    /// A source, and what makes it look sooner.
    pub(crate) fn new(store: SharedStore, source: EventSource, files: Files) -> (Self, Arc<Notify>) {
        let host = crate::report::host_name();
        let place = SourcePlace {
            namespace: source.namespace.clone(),
            name: source.name.clone(),
            host: if files.shared { String::new() } else { host },
            path: files.path.to_string_lossy().into_owned(),
        };
        let hints = Arc::new(Hints::default());
        let asked = Arc::clone(&hints.asked);
        (Self { store, source, files: Arc::new(files), place, hints, state: Mutex::default() }, asked)
    }

    /// The time between two looks.
    fn look_every(&self) -> Duration {
        (self.files.debounce / 2).clamp(LOOK_EVERY.0, LOOK_EVERY.1)
    }

    async fn look(&self, env: &Env, state: &mut State) -> Result<(), Trouble> {
        let hinted = self.hints.take();
        if env.monotonic_us() >= state.next_scan_us {
            return self.scan(env, state).await;
        }
        if hinted.all {
            // Not at once, so that a storm of hints costs no storm of scans.
            let soon = env.monotonic_us().saturating_add(micros(self.look_every()));
            state.next_scan_us = state.next_scan_us.min(soon);
        }
        let Some(root) = state.root else { return Ok(()) };
        if !hinted.paths.is_empty() {
            self.look_at_hinted(env, state, root, hinted.paths.into_iter().collect()).await?;
        }
        self.tell(env, state, root).await
    }

    /// Looks at everything.
    async fn scan(&self, env: &Env, state: &mut State) -> Result<(), Trouble> {
        let began_us = env.monotonic_us();
        // Until it is known better.
        state.next_scan_us = began_us.saturating_add(micros(RETRY_EVERY.min(self.files.rescan)));
        let key = self.key(env, state).await?;
        let path = self.files.path.clone();
        let root = env.blocking(move || root(&path)).await?;
        // Before the scan, so that nothing happens unseen between them.
        self.watch(env, state, root).await;
        let mut walker = Walker::new(Arc::clone(&self.files), PathBuf::new());
        let files = self.walk(env, state, &mut walker).await?;
        self.forget_gone(env, key, root).await?;
        self.tell(env, state, root).await?;

        state.scanned_at = Some(env.now());
        state.files = files;
        let unwatched = state.watch.as_ref().and_then(|watch| watch.as_ref().err());
        let (mode, every) = match unwatched {
            None => ("watch", self.files.rescan),
            Some(_) => ("poll", self.files.rescan.min(POLL_EVERY)),
        };
        let polls = unwatched.map(|why| format!("polled, because it cannot be watched: {why}"));
        let took = Duration::from_micros(env.monotonic_us().saturating_sub(began_us));
        state.next_scan_us = env.monotonic_us().saturating_add(micros(every.max(took * SCAN_SHARE)));
        let wrong: Vec<_> = polls.into_iter().chain(walker.passed_over.tell()).collect();
        self.note(env, state, mode, (!wrong.is_empty()).then(|| wrong.join("; "))).await?;
        Ok(())
    }

    async fn key(&self, env: &Env, state: &mut State) -> Result<SourceKey, Error> {
        match state.key {
            Some(key) => Ok(key),
            None => Ok(*state.key.insert(self.store.open_source(env.now(), self.place.clone()).await?)),
        }
    }

    /// Has the system tell what happens in this very directory, if it can.
    async fn watch(&self, env: &Env, state: &mut State, root: Root) {
        let is_due = match &state.watch {
            _ if state.root != Some(root) => true,
            Some(Ok(_)) => false,
            Some(Err(_)) | None => env.monotonic_us() >= state.next_watch_us,
        };
        if is_due {
            let (files, hints) = (Arc::clone(&self.files), Arc::clone(&self.hints));
            state.watch = Some(env.blocking(move || Watch::start(&files, &hints)).await);
            state.next_watch_us = env.monotonic_us().saturating_add(micros(self.files.rescan));
        }
        state.root = Some(root);
    }

    /// Looks at what a walk finds; how many files that were.
    async fn walk(&self, env: &Env, state: &mut State, walker: &mut Walker) -> Result<u64, Trouble> {
        let mut count = 0;
        loop {
            let mut taken = std::mem::replace(walker, Walker::new(Arc::clone(&self.files), PathBuf::new()));
            let (next, found) = env
                .blocking(move || {
                    let found = taken.next(SIGHTINGS_MAX);
                    (taken, found)
                })
                .await;
            *walker = next;
            let found = found?;
            if found.is_empty() {
                return Ok(count);
            }
            count += found.len() as u64;
            self.compare(env, state, found).await?;
        }
    }

    /// Holds files against what was seen of them.
    async fn compare(&self, env: &Env, state: &mut State, found: Vec<Found>) -> Result<(), Error> {
        if found.is_empty() {
            return Ok(());
        }
        let key = self.key(env, state).await?;
        let paths = found.iter().map(|found| found.path.clone()).collect();
        let seen = self.store.seen_of(key, paths).await?;
        let now_us = env.monotonic_us();
        for (Found { path, print }, before) in found.into_iter().zip(seen) {
            if before == Some(print) {
                state.standing.remove(&path);
                continue;
            }
            let new = || Differs { standing: Standing::new(print, now_us), before };
            let differs = state.standing.entry(path).or_insert_with(new);
            differs.before = before;
            differs.standing.look(print, now_us);
        }
        Ok(())
    }

    /// Forgets the files that are not there any more, so that one that comes again is new.
    async fn forget_gone(&self, env: &Env, key: SourceKey, root: Root) -> Result<(), Trouble> {
        let mut after = None;
        loop {
            let seen = self.store.seen(key, after, SIGHTINGS_MAX).await?;
            let Some((last, _)) = seen.last() else { return Ok(()) };
            after = Some(last.clone());
            self.forget_if_gone(env, key, root, seen).await?;
        }
    }

    async fn forget_if_gone(
        &self,
        env: &Env,
        key: SourceKey,
        root: Root,
        seen: Vec<(String, Fingerprint)>,
    ) -> Result<(), Trouble> {
        let paths: Vec<String> = seen.iter().map(|(path, _)| path.clone()).collect();
        let looks = self.look_at(env, root, paths).await?;
        let is_gone = |look: &std::io::Result<Look>| matches!(look, Ok(Look::Gone));
        let gone = seen.into_iter().zip(looks).filter(|(_, look)| is_gone(look));
        let gone: Vec<_> = gone
            .map(|((path, print), _)| Sighting { path, before: Some(print), after: None, event: None })
            .collect();
        if !gone.is_empty() {
            self.store.see(env.now(), key, gone).await?;
        }
        Ok(())
    }

    async fn look_at(
        &self,
        env: &Env,
        root: Root,
        paths: Vec<String>,
    ) -> Result<Vec<std::io::Result<Look>>, Trouble> {
        let files = Arc::clone(&self.files);
        Ok(env.blocking(move || look_at(&files, &paths, root)).await?)
    }

    /// Looks at what hints named.
    async fn look_at_hinted(
        &self,
        env: &Env,
        state: &mut State,
        root: Root,
        paths: Vec<PathBuf>,
    ) -> Result<(), Trouble> {
        let below = paths.iter().filter_map(|path| path.strip_prefix(&self.files.path).ok());
        let named: Vec<String> = below.filter_map(|path| name(path).ok()).map(str::to_owned).collect();
        for paths in named.chunks(SIGHTINGS_MAX) {
            let looks = self.look_at(env, root, paths.to_vec()).await?;
            let (mut found, mut gone, mut trees) = (Vec::new(), Vec::new(), Vec::new());
            for (path, look) in paths.iter().cloned().zip(looks) {
                match look {
                    Ok(Look::File(print)) if self.counts(&path) => found.push(Found { path, print }),
                    Ok(Look::Gone) => gone.push(path),
                    Ok(Look::Directory) if self.files.recursive && !path.is_empty() => trees.push(path),
                    // What cannot be looked at is told by the scan.
                    _ => {}
                }
            }
            self.compare(env, state, found).await?;
            self.forget_hinted(env, state, root, gone).await?;
            for tree in trees {
                // It may have come with files in it, of which nobody told.
                let mut walker = Walker::new(Arc::clone(&self.files), tree.into());
                self.walk(env, state, &mut walker).await?;
            }
        }
        Ok(())
    }

    fn counts(&self, path: &str) -> bool {
        counts(&self.files.patterns, path) && (self.files.recursive || !path.contains('/'))
    }

    async fn forget_hinted(
        &self,
        env: &Env,
        state: &mut State,
        root: Root,
        gone: Vec<String>,
    ) -> Result<(), Trouble> {
        if gone.is_empty() {
            return Ok(());
        }
        let key = self.key(env, state).await?;
        for path in &gone {
            state.standing.remove(path);
        }
        let seen = self.store.seen_of(key, gone.clone()).await?;
        let known = gone.into_iter().zip(seen).filter_map(|(path, print)| Some((path, print?)));
        self.forget_if_gone(env, key, root, known.collect()).await
    }

    /// Tells what has stood still for long enough, in the order in which it was written.
    async fn tell(&self, env: &Env, state: &mut State, root: Root) -> Result<(), Trouble> {
        let now_us = env.monotonic_us();
        let due = state.standing.iter().filter(|(_, one)| one.standing.due_us(self.files.debounce) <= now_us);
        let mut due: Vec<_> =
            due.map(|(path, one)| (one.standing.print().modified_ns, path.clone())).collect();
        due.sort_unstable();
        let due: Vec<String> = due.into_iter().map(|(_, path)| path).collect();
        for paths in due.chunks(SIGHTINGS_MAX) {
            let looks = self.look_at(env, root, paths.to_vec()).await?;
            let mut sightings = Vec::new();
            for (path, look) in paths.iter().zip(looks) {
                let Some(differs) = state.standing.get_mut(path) else { continue };
                match look {
                    Ok(Look::File(print)) if print == differs.standing.print() => {
                        sightings.push(self.sighting(env, path, differs.before, print));
                    }
                    Ok(Look::File(print)) => differs.standing.look(print, env.monotonic_us()),
                    // The next scan says what it is.
                    _ => {
                        state.standing.remove(path);
                    }
                }
            }
            self.see(env, state, sightings).await?;
        }
        Ok(())
    }

    async fn see(&self, env: &Env, state: &mut State, sightings: Vec<Sighting>) -> Result<(), Error> {
        if sightings.is_empty() {
            return Ok(());
        }
        let key = self.key(env, state).await?;
        let paths: Vec<String> = sightings.iter().map(|sighting| sighting.path.clone()).collect();
        let told = sightings.iter().filter(|sighting| sighting.event.is_some()).count();
        let done = self.store.see(env.now(), key, sightings).await?;
        tracing::debug!(source = %self.source.name, files = paths.len(), told, "files were seen");
        for (path, done) in paths.into_iter().zip(done) {
            state.standing.remove(&path);
            if !done {
                // Somebody else has seen it, or the store does not know the source any more.
                state.key = None;
                self.hints.add([self.files.path.join(path)]);
            }
        }
        Ok(())
    }

    fn sighting(&self, env: &Env, path: &str, before: Option<Fingerprint>, now: Fingerprint) -> Sighting {
        let event = self.files.wanted.of(before, now).and_then(|change| self.event(env, path, change, now));
        Sighting { path: path.to_owned(), before, after: Some(now), event }
    }

    fn event(&self, env: &Env, path: &str, change: FileChange, print: Fingerprint) -> Option<NewEvent> {
        let whole = self.files.path.join(path);
        let whole = whole.to_str()?;
        let topic = self.source.topic.as_ref().map_or(change.topic(), |topic| topic.as_str());
        let payload = json!({
            "path": whole,
            "name": name_of(path),
            "size": print.size,
            "modified": Timestamp::from_micros(print.modified_ns.div_euclid(1_000)).to_string(),
            "change": change.as_str(),
            "source": self.source.name.as_str(),
        });
        let event = Event::new(topic).namespace(self.source.namespace.as_str()).payload(&payload).ok()?;
        let event = if check_event_key(whole).is_ok() { event.key(whole) } else { event };
        // The names were checked when they were made, the key just now.
        event.into_new(env).ok()
    }

    /// Says in the log and in the store how the source is: when it changes, and now and then.
    async fn note(
        &self,
        env: &Env,
        state: &mut State,
        mode: &'static str,
        error: Option<String>,
    ) -> Result<(), Error> {
        let now_us = env.monotonic_us();
        let noted = (mode, error);
        let before = state.noted.as_ref().map(|(noted, _)| noted);
        let is_news = before != Some(&noted);
        if !is_news && state.noted.as_ref().is_some_and(|(_, until_us)| now_us < *until_us) {
            return Ok(());
        }
        if is_news {
            let (source, path) = (&self.source.name, self.files.path.display());
            match &noted.1 {
                Some(error) => tracing::warn!(%source, %path, error, "an event source has trouble"),
                None => {
                    tracing::info!(%source, %path, mode, files = state.files, "an event source is all right");
                }
            }
        }
        let note = SourceNote {
            mode: mode.to_owned(),
            scanned_at: state.scanned_at,
            files: state.files,
            error: noted.1.clone(),
        };
        let key = self.key(env, state).await?;
        if !self.store.note_source(env.now(), key, note).await? {
            state.key = None;
        }
        state.noted = Some((noted, now_us.saturating_add(micros(NOTE_EVERY))));
        Ok(())
    }

    /// The time until something is due.
    fn pause(&self, env: &Env, state: &State) -> Duration {
        let due = state.standing.values().map(|one| one.standing.due_us(self.files.debounce)).min();
        // Whoever adds to hints that wait already wakes nobody.
        let due = if self.hints.is_empty() { due.unwrap_or(u64::MAX) } else { 0 };
        let next = due.min(state.next_scan_us).max(state.next_look_us);
        Duration::from_micros(next.saturating_sub(env.monotonic_us()))
    }
}

impl Duty for FileSource {
    fn name(&self) -> &'static str {
        "source"
    }

    fn run_once<'a>(&'a self, env: &'a Env) -> Reply<'a, Next> {
        Box::pin(async move {
            let state = &mut *self.state.lock().await;
            let now_us = env.monotonic_us();
            if now_us >= state.next_look_us {
                state.next_look_us = now_us.saturating_add(micros(self.look_every()));
                match self.look(env, state).await {
                    Ok(()) => {}
                    Err(Trouble::Store(error)) => {
                        // What hints have named is not known any more.
                        state.next_scan_us = 0;
                        return Err(error);
                    }
                    Err(Trouble::Directory(why)) => {
                        state.watch = None;
                        state.root = None;
                        state.standing.clear();
                        let retry = RETRY_EVERY.min(self.files.rescan);
                        state.next_scan_us = env.monotonic_us().saturating_add(micros(retry));
                        self.note(env, state, "poll", Some(in_words(&self.files.path, &why))).await?;
                    }
                }
            }
            Ok(Next::After(self.pause(env, state)))
        })
    }
}

fn in_words(path: &Path, why: &str) -> String {
    format!("{} cannot be looked at: {why}; make it a directory that this user can read", path.display())
}

#[cfg(test)]
mod tests {
    use taskwright_core::SourceName;
    use taskwright_core::source::Wanted;
    use taskwright_store::memory::MemoryStore;

    use super::*;
    use crate::source::Origin;
    use crate::testing::simulate;

    /// A second hint that comes before the next look wakes nobody: the look must come all the same.
    #[test]
    fn hints_that_wait_are_looked_at_soon_whoever_was_woken() {
        simulate(1, async |sim| {
            let directory = tempfile::tempdir().unwrap();
            let files = Files {
                path: directory.path().to_owned(),
                recursive: false,
                patterns: Vec::new(),
                wanted: Wanted::default(),
                debounce: Duration::from_millis(500),
                rescan: Duration::from_secs(3_600),
                shared: false,
            };
            let source = EventSource {
                name: SourceName::new("inbox").unwrap(),
                namespace: taskwright_core::Namespace::default(),
                topic: None,
                of: Origin::Files(files.clone()),
            };
            let (source, _) = FileSource::new(Arc::new(MemoryStore::new()), source, files);
            let env = sim.env();
            source.run_once(&env).await.unwrap();
            source.hints.add([directory.path().join("a")]);
            // Woken by the first one, too soon for a look.
            sim.advance(Duration::from_millis(1)).await;
            source.hints.add([directory.path().join("b")]);
            let Next::After(pause) = source.run_once(&env).await.unwrap() else { panic!("a pause") };
            assert!(pause <= source.look_every(), "{pause:?}");
        });
    }
}

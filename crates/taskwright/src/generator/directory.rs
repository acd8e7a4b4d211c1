//! A generator over the files of a directory: each becomes an item, and once more when it has changed.
//!
//! What is remembered is a row for each file that became an item: what it looked like, and whether its item is outstanding. What is
//! not there yet costs no row. A walk over the directory goes on from poll to poll; that is kept in memory, and whoever does not
//! have it, or meets a state that is not its own, begins anew, and passes what is remembered.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use taskwright_core::Timestamp;
use taskwright_core::generator::Definition;
use taskwright_core::limit::ITEM_KEY_BYTES_MAX;
use taskwright_core::source::Wanted;
use taskwright_store::{Effect, FileMark, FileWrite, GeneratorKey, KnownFile, SharedStore};

use super::{Generator, Item, Next, Poll, PollError, Polled, Settled};
use crate::attempt::lock;
use crate::env::Env;
use crate::process::words_of;
use crate::source::scan::{Found, Look, Root, Walker, look_at, root};
use crate::source::{Files, Pattern};

/// Files that are looked at at once.
const BATCH: usize = 1_000;
/// Files that one poll looks at: 20,000.
const FILES_MAX: usize = 20_000;
/// How long a file must stand still before it counts, unless somebody says otherwise: 2 s.
const DEBOUNCE_DEFAULT: Duration = Duration::from_secs(2);
/// The time between the end of a walk and the next one, unless somebody says otherwise: 60 s.
const RESCAN_DEFAULT: Duration = Duration::from_secs(60);
/// While files do not stand still, the next walk begins after this share of that time.
const SOON_SHARE: u32 = 10;

/// Which files of a directory become items.
#[derive(Clone, Debug)]
pub struct Directory {
    /// The directory, as an absolute path. It may be a link; links in it are never followed, and are no files.
    pub path: PathBuf,
    /// Whether directories inside it count. Default yes.
    pub recursive: bool,
    /// Which files count; none for all that do not begin with a dot.
    pub patterns: Vec<Pattern>,
    /// How long a file must not have been changed before it counts. Default 2 s.
    pub debounce: Duration,
    /// The time between two walks. Default 60 s.
    pub rescan: Duration,
}

impl Directory {
    /// Every file below a path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (debounce, rescan) = (DEBOUNCE_DEFAULT, RESCAN_DEFAULT);
        Self { path: path.into(), recursive: true, patterns: Vec::new(), debounce, rescan }
    }
}

/// A file that becomes an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Its whole path, which is UTF-8.
    pub path: String,
    /// Its path below the directory.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// What makes an item of a file.
type MakeItem = Box<dyn Fn(&FoundFile) -> Result<Item, taskwright_core::Error> + Send + Sync>;

/// A generator over the files of a directory. See [`Directory`].
///
/// A file becomes an item when it is new, or differs in size or time of its last change from what it was when it became one before; not
/// while that item is outstanding. Whatever becomes of the item, the file is not made one again until it changes: a failed one is a
/// dead letter. A file whose name is not UTF-8, or that cannot be looked at, is passed over, and its state says so.
///
/// # Example
///
/// ```
/// # use taskwright::{Env, store::SharedStore};
/// use taskwright::generator::{Directory, DirectoryGenerator, GeneratorSet, Item};
///
/// # fn example(store: &SharedStore, env: &Env) -> Result<(), taskwright::core::Error> {
/// let scans = DirectoryGenerator::new("scans", Directory::new("/srv/scans"), store, env, |file| {
///     Item::new("scan.read").args(&file.path)
/// });
/// let generators = GeneratorSet::new().with(scans)?;
/// # Ok(())
/// # }
/// ```
pub struct DirectoryGenerator {
    name: String,
    files: Arc<Files>,
    store: SharedStore,
    env: Env,
    item: MakeItem,
    options: Box<dyn Fn(Definition) -> Definition + Send + Sync>,
    walk: Mutex<Option<Walk>>,
}

/// The state of the generator.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct Place {
    /// Counts the polls, so that a walk knows whether it is its own.
    poll: u64,
    /// Walks that are over.
    walks: u64,
    /// Files that the last walk found, and when it ended.
    files: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    walked_at: Option<Timestamp>,
    /// What the last walk could not look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

/// A walk over the directory that is under way.
struct Walk {
    /// The poll that goes on with it.
    poll: u64,
    walker: Walker,
    root: Root,
    /// Files that were found and not looked at: there was no room.
    left: Vec<Found>,
    files: u64,
    /// Whether some do not stand still yet.
    unsteady: bool,
    long_names: u64,
    /// Once all files were found: behind this path those are looked for that are gone.
    forget_after: Option<Option<String>>,
}

impl DirectoryGenerator {
    /// A generator of this name: `item` makes an item of a file. Its key is the name of the file, whatever `item` says.
    pub fn new(
        name: &str,
        directory: Directory,
        store: &SharedStore,
        env: &Env,
        item: impl Fn(&FoundFile) -> Result<Item, taskwright_core::Error> + Send + Sync + 'static,
    ) -> Self {
        let Directory { path, recursive, patterns, debounce, rescan } = directory;
        let wanted = Wanted { created: true, changed: true };
        let files = Files { path, recursive, patterns, wanted, debounce, rescan, shared: true };
        Self {
            name: name.to_owned(),
            files: Arc::new(files),
            store: SharedStore::clone(store),
            env: env.clone(),
            item: Box::new(item),
            options: Box::new(|defaults| defaults),
            walk: Mutex::default(),
        }
    }

    /// What differs from the [defaults](Generator::options).
    #[must_use]
    pub fn options(self, options: impl Fn(Definition) -> Definition + Send + Sync + 'static) -> Self {
        Self { options: Box::new(options), ..self }
    }

    /// The walk that this poll goes on with, or a new one.
    async fn walk(&self, poll: u64) -> std::io::Result<Walk> {
        let own = lock(&self.walk).take().filter(|walk| walk.poll == poll);
        if let Some(walk) = own {
            return Ok(walk);
        }
        let path = self.files.path.clone();
        let root = self.env.blocking(move || root(&path)).await?;
        let walker = Walker::new(Arc::clone(&self.files), PathBuf::new());
        let (left, forget_after) = (Vec::new(), None);
        Ok(Walk { poll, walker, root, left, files: 0, unsteady: false, long_names: 0, forget_after })
    }

    /// Makes items of files, until there is no room or the walk is over, or has gone on for long enough.
    async fn find(&self, walk: &mut Walk, poll: &Poll, made: &mut Made) -> Result<bool, PollError> {
        let mut looked_at = 0;
        while walk.forget_after.is_none() {
            if made.items.len() == poll.room || looked_at >= FILES_MAX {
                return Ok(false);
            }
            let found = match std::mem::take(&mut walk.left) {
                left if left.is_empty() => self.next(walk).await?,
                left => left,
            };
            if found.is_empty() {
                walk.forget_after = Some(None);
                break;
            }
            looked_at += found.len();
            let paths = found.iter().map(|file| file.path.clone()).collect();
            let known = self.store.files_of(poll.generator, paths).await?;
            let mut pairs = found.into_iter().zip(known);
            for (file, known) in pairs.by_ref() {
                if made.items.len() == poll.room {
                    walk.left.push(file);
                    break;
                }
                self.take(walk, poll.now, file, known, made)?;
            }
            walk.left.extend(pairs.map(|(file, _)| file));
        }
        Ok(true)
    }

    /// The next files of the walk.
    async fn next(&self, walk: &mut Walk) -> std::io::Result<Vec<Found>> {
        let fresh = Walker::new(Arc::clone(&self.files), PathBuf::new());
        let mut walker = std::mem::replace(&mut walk.walker, fresh);
        let (walker, found) = self
            .env
            .blocking(move || {
                let found = walker.next(BATCH);
                (walker, found)
            })
            .await;
        walk.walker = walker;
        let mut found = found?;
        walk.files += found.len() as u64;
        let all = found.len();
        found.retain(|file| file.path.len() <= ITEM_KEY_BYTES_MAX);
        walk.long_names += (all - found.len()) as u64;
        // Only the end of the walk is empty.
        if found.is_empty() && all > 0 { Box::pin(self.next(walk)).await } else { Ok(found) }
    }

    /// Makes an item of a file, if it is new or has changed, and stands still.
    fn take(
        &self,
        walk: &mut Walk,
        now: Timestamp,
        file: Found,
        known: Option<KnownFile>,
        made: &mut Made,
    ) -> Result<(), PollError> {
        let mark = FileMark { size: file.print.size, modified_ns: file.print.modified_ns };
        if known.is_some_and(|known| known.open || known.mark == mark) {
            return Ok(());
        }
        let since_us = now.as_micros().saturating_sub(mark.modified_ns / 1_000).unsigned_abs();
        if u128::from(since_us) < self.files.debounce.as_micros() {
            walk.unsteady = true;
            return Ok(());
        }
        let path = self.files.path.join(&file.path).to_string_lossy().into_owned();
        let found = FoundFile { path, name: file.path.clone(), size: mark.size };
        made.items.push((self.item)(&found)?.key(file.path.clone()));
        made.remembered.push((file.path, mark));
        Ok(())
    }

    /// Forgets remembered files that are gone; `false` when more may be.
    async fn forget(&self, walk: &mut Walk, poll: &Poll, made: &mut Made) -> Result<bool, PollError> {
        for _ in 0..FILES_MAX / BATCH {
            let Some(after) = walk.forget_after.clone() else { break };
            let known = self.store.files(poll.generator, after, BATCH).await?;
            let Some((last, _)) = known.last() else { return Ok(true) };
            let last = last.clone();
            let is_last = known.len() < BATCH;
            let paths: Vec<String> =
                known.into_iter().filter(|(_, file)| !file.open).map(|(path, _)| path).collect();
            let (files, asked, root) = (Arc::clone(&self.files), paths.clone(), walk.root);
            let looks = self.env.blocking(move || look_at(&files, &asked, root)).await?;
            let gone = paths.into_iter().zip(looks).filter(|(_, look)| matches!(look, Ok(Look::Gone)));
            made.gone.extend(gone.map(|(path, _)| path));
            walk.forget_after = Some(Some(last));
            if is_last {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// When the next walk begins, once one is over.
    fn next_walk(&self, walk: &Walk, now: Timestamp) -> Timestamp {
        let Files { debounce, rescan, .. } = &*self.files;
        let soon = (*rescan / SOON_SHARE).max(*debounce).min(*rescan);
        now.plus(if walk.unsteady { soon } else { *rescan })
    }
}

/// What a poll makes.
#[derive(Default)]
struct Made {
    items: Vec<Item>,
    remembered: Vec<(String, FileMark)>,
    gone: Vec<String>,
}

impl Made {
    fn polled(self, generator: GeneratorKey, place: &Place, next: Next) -> Result<Polled, PollError> {
        let mut polled = Polled::new(self.items, serde_json::to_value(place)?, next);
        if !self.remembered.is_empty() {
            polled.effects.push(Effect::Files(generator, FileWrite::Remember(self.remembered)));
        }
        if !self.gone.is_empty() {
            polled.effects.push(Effect::Files(generator, FileWrite::Forget(self.gone)));
        }
        Ok(polled)
    }
}

impl Generator for DirectoryGenerator {
    fn name(&self) -> &str {
        &self.name
    }

    fn options(&self, defaults: Definition) -> Definition {
        let path = Path::display(&self.files.path);
        let globs: String = self.files.patterns.iter().map(|glob| format!(" {glob}")).collect();
        (self.options)(Definition { about: Some(format!("files of {path}{globs}")), ..defaults })
    }

    fn settled_effects(&self, generator: GeneratorKey, settled: &[Settled]) -> Vec<Effect> {
        let paths = settled.iter().filter_map(|item| item.key.clone()).collect();
        vec![Effect::Files(generator, FileWrite::Close(paths))]
    }

    async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
        let mut place: Place = match poll.state.clone() {
            Value::Null => Place::default(),
            state => serde_json::from_value(state)?,
        };
        let mut walk = match self.walk(place.poll).await {
            Ok(walk) => walk,
            // It may be mounted later: no reason to pause.
            Err(error) => {
                place.trouble = Some(words_of(&error));
                let next = Next::At(poll.now.plus(self.files.rescan));
                return Ok(Polled::new(Vec::new(), serde_json::to_value(&place)?, next));
            }
        };
        place.poll += 1;
        walk.poll = place.poll;
        let mut made = Made::default();
        let is_over =
            self.find(&mut walk, &poll, &mut made).await? && self.forget(&mut walk, &poll, &mut made).await?;
        if !is_over {
            *lock(&self.walk) = Some(walk);
            return made.polled(poll.generator, &place, Next::Now);
        }
        place.walks += 1;
        (place.files, place.walked_at) = (walk.files, Some(poll.now));
        let long = (walk.long_names > 0)
            .then(|| format!("{} files have paths longer than {ITEM_KEY_BYTES_MAX} bytes", walk.long_names));
        place.trouble = walk.walker.passed_over.tell().or(long);
        let next = Next::At(self.next_walk(&walk, poll.now));
        made.polled(poll.generator, &place, next)
    }
}

impl FoundFile {
    /// The arguments that it gives to a job: `{"path": .., "name": .., "size": ..}`.
    pub fn args(&self) -> Value {
        json!({ "path": self.path, "name": self.name, "size": self.size })
    }
}

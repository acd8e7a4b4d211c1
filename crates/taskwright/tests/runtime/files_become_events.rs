//! Real files become events: each once, whatever the store or the process does meanwhile, and none before it is whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use taskwright::core::source::Wanted;
use taskwright::core::{SourceName, Topic};
use taskwright::source::{EventSource, Files, Origin, Pattern};
use taskwright::store::memory::MemoryStore;
use taskwright::store::{EventStore, SourceStore, Store};
use taskwright::testing::{Call, FaultyStore, Sim, When, simulate};
use taskwright::{Duties, DutyConfig};

const BOTH: Wanted = Wanted { created: true, changed: true };

/// A directory, a store, and what runs on them.
struct Inbox {
    sim: Sim,
    directory: tempfile::TempDir,
    store: Arc<FaultyStore>,
    files: Files,
    topic: Option<Topic>,
    up: Option<Duties>,
}

impl Inbox {
    fn new(sim: Sim) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = Files {
            path: directory.path().join("inbox"),
            recursive: false,
            patterns: Vec::new(),
            wanted: Wanted::default(),
            debounce: Duration::from_millis(500),
            rescan: Duration::from_secs(60),
            shared: false,
        };
        std::fs::create_dir(&files.path).unwrap();
        let store = FaultyStore::new(Arc::new(MemoryStore::new()));
        Self { sim, directory, store, files, topic: None, up: None }
    }

    /// Starts the duties, and has them look until nothing is left to tell.
    async fn start(&mut self) {
        let source = EventSource {
            name: SourceName::new("inbox").unwrap(),
            namespace: taskwright::Namespace::default(),
            topic: self.topic.clone(),
            of: Origin::Files(self.files.clone()),
        };
        let config = DutyConfig { sources: vec![source], ..DutyConfig::default() };
        let store: Arc<dyn Store> = self.store.clone();
        self.up = Some(Duties::start(&store, &self.sim.env(), &config));
        self.go_on().await;
    }

    /// The death of the process: nothing is written down.
    fn kill(&mut self) {
        self.up = None;
    }

    /// Long enough for a scan, and for a file that it finds to stand still.
    async fn go_on(&self) {
        self.sim.advance(self.files.rescan * 2).await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The topics and names of all events, in their order.
    async fn told(&self) -> Vec<String> {
        let mut events = self.store.events(None, None, None, 1_000).await.unwrap();
        events.reverse();
        let tell = |payload: serde_json::Value, topic: &Topic| {
            let path = payload["path"].as_str().unwrap();
            let below = Path::new(path).strip_prefix(&self.files.path).unwrap();
            format!("{topic} {}", below.display())
        };
        events.iter().map(|one| tell(one.event.payload.parse().unwrap(), &one.event.topic)).collect()
    }

    async fn note(&self) -> (String, Option<String>) {
        let note = self.store.sources(None).await.unwrap().remove(0).note.unwrap();
        (note.mode, note.error)
    }
}

fn inbox(test: impl AsyncFnOnce(Inbox)) {
    simulate(1, async |sim| test(Inbox::new(sim)).await);
}

#[test]
fn a_file_is_told_once_with_what_it_is() {
    inbox(async |mut inbox| {
        inbox.write("a.csv", "hello");
        inbox.start().await;
        inbox.go_on().await;
        let events = inbox.store.events(None, None, None, 10).await.unwrap();
        assert_eq!(events.len(), 1);
        let event = &events[0].event;
        let payload: serde_json::Value = event.payload.parse().unwrap();
        let path = inbox.path("a.csv");
        assert_eq!((event.topic.as_str(), event.key.as_deref()), ("file.created", path.to_str()));
        assert_eq!(payload["path"], path.to_str().unwrap());
        assert_eq!((&payload["name"], &payload["size"]), (&"a.csv".into(), &5.into()));
        assert_eq!((&payload["change"], &payload["source"]), (&"created".into(), &"inbox".into()));
        assert!(payload["modified"].as_str().unwrap().starts_with("20"), "{payload}");
    });
}

#[test]
fn what_came_while_nobody_was_up_is_told_and_what_was_told_is_not_told_again() {
    inbox(async |mut inbox| {
        inbox.write("a", "1");
        inbox.start().await;
        inbox.kill();
        inbox.write("b", "2");
        inbox.start().await;
        inbox.kill();
        inbox.start().await;
        assert_eq!(inbox.told().await, ["file.created a", "file.created b"]);
    });
}

#[test]
fn a_file_that_grows_is_not_told_before_it_stands_still() {
    inbox(async |mut inbox| {
        inbox.files.debounce = Duration::from_secs(150);
        inbox.write("a", "1");
        inbox.start().await;
        for length in 2..5 {
            inbox.write("a", &"1".repeat(length));
            inbox.go_on().await;
            assert_eq!(inbox.told().await, [""; 0], "{length}");
        }
        inbox.go_on().await;
        inbox.go_on().await;
        assert_eq!(inbox.told().await, ["file.created a"]);
    });
}

#[test]
fn a_change_is_told_to_who_asks_for_it() {
    inbox(async |mut inbox| {
        inbox.files.wanted = BOTH;
        inbox.write("a", "1");
        inbox.start().await;
        inbox.write("a", "22");
        inbox.go_on().await;
        assert_eq!(inbox.told().await, ["file.created a", "file.changed a"]);
        inbox.kill();
        inbox.files.wanted = Wanted::default();
        inbox.write("a", "333");
        inbox.start().await;
        assert_eq!(inbox.told().await.len(), 2, "nobody asked for changes");
    });
}

#[test]
fn a_file_that_took_the_place_of_another_is_a_new_one() {
    inbox(async |mut inbox| {
        inbox.write("a", "1");
        inbox.start().await;
        // Written beside it and moved there, as a careful program does.
        std::fs::write(inbox.directory.path().join("part"), "1").unwrap();
        std::fs::rename(inbox.directory.path().join("part"), inbox.path("a")).unwrap();
        inbox.go_on().await;
        assert_eq!(inbox.told().await, ["file.created a"; 2]);
    });
}

#[test]
fn a_file_that_was_taken_away_and_brought_back_is_told_again() {
    inbox(async |mut inbox| {
        inbox.write("a", "1");
        inbox.start().await;
        let elsewhere = inbox.directory.path().join("done");
        std::fs::rename(inbox.path("a"), &elsewhere).unwrap();
        inbox.go_on().await;
        std::fs::rename(&elsewhere, inbox.path("a")).unwrap();
        inbox.go_on().await;
        assert_eq!(inbox.told().await, ["file.created a"; 2]);
    });
}

#[test]
fn a_lost_answer_of_the_store_makes_no_second_event() {
    inbox(async |mut inbox| {
        for name in ["a", "b", "c"] {
            inbox.write(name, "1");
        }
        inbox.store.fail(Call::See, 1..=3, When::After);
        inbox.start().await;
        inbox.go_on().await;
        let mut told = inbox.told().await;
        told.sort();
        assert_eq!(told, ["file.created a", "file.created b", "file.created c"]);
        inbox.store.heal();
        inbox.write("d", "1");
        inbox.go_on().await;
        assert_eq!(inbox.told().await.len(), 4);
    });
}

#[test]
fn a_store_that_is_away_delays_events_and_loses_none() {
    inbox(async |mut inbox| {
        inbox.write("a", "1");
        inbox.store.fail(Call::See, 1..=5, When::Before);
        inbox.start().await;
        inbox.go_on().await;
        assert_eq!(inbox.told().await, ["file.created a"]);
    });
}

#[test]
fn two_who_look_at_the_same_directory_tell_each_file_once() {
    inbox(async |mut inbox| {
        for n in 0..50 {
            inbox.write(&n.to_string(), "1");
        }
        inbox.start().await;
        let first = inbox.up.take();
        inbox.start().await;
        inbox.write("late", "1");
        inbox.go_on().await;
        drop(first);
        assert_eq!(inbox.told().await.len(), 51);
    });
}

#[test]
fn of_a_shared_directory_one_node_looks_and_another_follows() {
    inbox(async |mut inbox| {
        inbox.files.shared = true;
        inbox.write("a", "1");
        inbox.start().await;
        let first = inbox.up.take();
        inbox.start().await;
        assert_eq!(inbox.told().await, ["file.created a"]);
        let sources = inbox.store.sources(None).await.unwrap();
        assert_eq!(sources.iter().map(|one| one.place.host.as_str()).collect::<Vec<_>>(), [""]);
        drop(first);
        inbox.write("b", "1");
        inbox.go_on().await;
        assert_eq!(inbox.told().await, ["file.created a", "file.created b"]);
    });
}

#[test]
fn only_regular_files_that_match_count_and_links_are_not_followed() {
    inbox(async |mut inbox| {
        inbox.files.recursive = true;
        inbox.files.patterns = vec![Pattern::new("*.csv").unwrap()];
        inbox.topic = Some(Topic::new("in").unwrap());
        std::fs::create_dir_all(inbox.path("2026/01")).unwrap();
        let outside = inbox.directory.path().join("outside.csv");
        std::fs::write(&outside, "1").unwrap();
        std::os::unix::fs::symlink(&outside, inbox.path("link.csv")).unwrap();
        std::os::unix::fs::symlink(inbox.path("2026"), inbox.path("again")).unwrap();
        for name in ["2026/01/a.csv", "2026/b.csv", "c.txt", ".d.csv"] {
            inbox.write(name, "1");
        }
        inbox.start().await;
        let mut told = inbox.told().await;
        told.sort();
        assert_eq!(told, ["in 2026/01/a.csv", "in 2026/b.csv"]);
    });
}

#[test]
fn a_directory_that_is_away_is_said_to_be_and_nothing_in_it_is_forgotten() {
    inbox(async |mut inbox| {
        inbox.write("a", "1");
        inbox.start().await;
        assert_eq!(inbox.note().await, ("watch".to_owned(), None));
        let away = inbox.directory.path().join("away");
        std::fs::rename(&inbox.files.path, &away).unwrap();
        inbox.go_on().await;
        let (_, error) = inbox.note().await;
        assert!(error.as_ref().is_some_and(|error| error.contains("cannot be looked at")), "{error:?}");
        std::fs::rename(&away, &inbox.files.path).unwrap();
        inbox.write("b", "1");
        inbox.go_on().await;
        assert_eq!(inbox.told().await, ["file.created a", "file.created b"]);
        assert_eq!(inbox.note().await.1, None);
    });
}

#[test]
fn what_cannot_be_told_is_said_by_name_and_the_rest_is_told() {
    use std::os::unix::ffi::OsStrExt;

    inbox(async |mut inbox| {
        let odd = std::ffi::OsStr::from_bytes(b"\xff.csv");
        std::fs::write(inbox.files.path.join(odd), "1").unwrap();
        inbox.write("a", "1");
        inbox.start().await;
        assert_eq!(inbox.told().await, ["file.created a"]);
        let (_, error) = inbox.note().await;
        assert!(error.as_ref().is_some_and(|error| error.contains("not UTF-8")), "{error:?}");
    });
}

#[test]
fn more_files_than_one_call_of_the_store_takes_are_each_told_once() {
    inbox(async |mut inbox| {
        inbox.files.debounce = Duration::ZERO;
        for n in 0..2_345 {
            inbox.write(&format!("{n:04}"), "");
        }
        inbox.start().await;
        let seen = inbox.store.sources(None).await.unwrap().remove(0);
        assert_eq!(seen.note.unwrap().files, 2_345);
        assert_eq!(inbox.store.count(Call::See), 3);
        inbox.kill();
        inbox.start().await;
        assert_eq!(inbox.store.count(Call::See), 3, "there was nothing to tell");
    });
}

//! Every file of a directory becomes an item once, and once more when it has changed; what cannot be looked at stops nothing.

use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use taskwright::generator::{Directory, DirectoryGenerator, Item};
use taskwright::source::Pattern;
use taskwright::{Context, Duties, MaxAttempts, TaskError};
use tempfile::TempDir;

use crate::support::{Notes, Running, World, handles, seconds, world};

/// Files are as old as the virtual clock, or older.
fn write(path: &Path, text: &str, age_s: u64) {
    fs::write(path, text).unwrap();
    let then = UNIX_EPOCH + Duration::from_secs(1_000_000_000 - age_s);
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
}

fn directory(files: usize) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    (0..files).for_each(|n| write(&directory.path().join(format!("{n}.dat")), "x", 1_000 + n as u64));
    directory
}

impl World {
    fn walking(&self, directory: Directory) -> Duties {
        let item = |file: &taskwright::generator::FoundFile| {
            Ok(Item::new("test").args(&file.name)?.max_attempts(MaxAttempts::limited(1)?))
        };
        let walks = DirectoryGenerator::new("feed", directory, &self.store(), &self.sim.env(), item);
        self.generating(walks)
    }

    /// A worker that notes the names of the files; those in which it finds `fails` fail.
    fn noting(&self) -> (Running, Notes<String>) {
        let ran = Notes::new();
        let notes = ran.clone();
        let running = self.start(self.worker(handles(move |ctx: Context| {
            let name = ctx.args::<String>().unwrap();
            let fails = name.contains("fails");
            notes.add(name);
            async move { if fails { Err(TaskError::retry("it fails")) } else { Ok::<_, TaskError>(()) } }
        })));
        (running, ran)
    }
}

fn every_minute(path: &Path) -> Directory {
    Directory::new(path)
}

#[test]
fn each_file_becomes_an_item_once_and_once_more_when_its_size_or_time_changes() {
    let directory = directory(250);
    world(async |world| {
        let _node = world.walking(every_minute(directory.path()));
        let (_worker, ran) = world.noting();
        world.settled(250).await;
        let mut names = ran.all();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), ran.all().len()), (250, 250));
        world.sim.advance(seconds(300)).await;
        assert_eq!(ran.all().len(), 250, "nothing has changed");
        write(&directory.path().join("7.dat"), "longer", 1_007);
        write(&directory.path().join("8.dat"), "x", 999);
        world.sim.advance(seconds(70)).await;
        assert_eq!(ran.all()[250..].iter().collect::<std::collections::BTreeSet<_>>().len(), 2);
        let feed = world.feed().await;
        assert_eq!((feed.record.counts.made, feed.state["files"].as_u64()), (252, Some(250)));
    });
}

#[test]
fn a_failed_file_is_a_dead_letter_and_not_made_again_until_it_changes() {
    let directory = directory(3);
    write(&directory.path().join("fails.dat"), "x", 500);
    world(async |world| {
        let _node = world.walking(every_minute(directory.path()));
        let (_worker, ran) = world.noting();
        assert_eq!(world.settled(4).await.record.counts.failed, 1);
        world.sim.advance(seconds(300)).await;
        assert_eq!(ran.all().len(), 4);
        write(&directory.path().join("fails.dat"), "xy", 400);
        world.sim.advance(seconds(70)).await;
        assert_eq!(ran.all().len(), 5);
    });
}

#[test]
fn a_file_that_changes_while_its_item_runs_is_made_one_again_afterwards() {
    let directory = directory(1);
    world(async |world| {
        let _node = world.walking(every_minute(directory.path()));
        let ran = Notes::new();
        let notes = ran.clone();
        let _worker = world.start(
            world
                .worker(handles(move |ctx: Context| {
                    notes.add(());
                    async move {
                        ctx.env().sleep(seconds(200)).await;
                        Ok::<_, TaskError>(())
                    }
                }))
                .concurrency(4),
        );
        world.sim.advance(seconds(10)).await;
        write(&directory.path().join("0.dat"), "changed", 10);
        world.sim.advance(seconds(150)).await;
        assert_eq!(ran.all().len(), 1, "one at a time");
        world.sim.advance(seconds(300)).await;
        assert_eq!(ran.all().len(), 2);
    });
}

#[test]
fn a_file_that_does_not_stand_still_waits() {
    let directory = directory(1);
    world(async |world| {
        let young = directory.path().join("young.dat");
        fs::write(&young, "x").unwrap();
        let now =
            UNIX_EPOCH + Duration::from_micros(u64::try_from(world.sim.env().now().as_micros()).unwrap());
        let times = FileTimes::new().set_modified(now + Duration::from_secs(5));
        File::options().write(true).open(&young).unwrap().set_times(times).unwrap();
        let debounce = Directory { debounce: seconds(20), ..every_minute(directory.path()) };
        let _node = world.walking(debounce);
        let (_worker, ran) = world.noting();
        world.sim.advance(seconds(15)).await;
        assert_eq!(ran.all(), ["0.dat"]);
        world.sim.advance(seconds(60)).await;
        assert_eq!(ran.all(), ["0.dat", "young.dat"]);
    });
}

/// Links are never followed and are no files; names that are no text, and what may not be read, are told and stop nothing.
#[test]
fn what_cannot_be_an_item_is_passed_over() {
    let directory = directory(2);
    let at = |name: &str| directory.path().join(name);
    let strange = directory.path().join(std::ffi::OsStr::from_bytes(b"strange\xff.dat"));
    fs::write(strange, "x").unwrap();
    symlink(at("0.dat"), at("link.dat")).unwrap();
    symlink("/usr/share", at("linked")).unwrap();
    fs::create_dir(at("below")).unwrap();
    write(&at("below/deep.dat"), "x", 700);
    write(&at("other.txt"), "x", 700);
    let closed = at("closed");
    fs::create_dir(&closed).unwrap();
    write(&closed.join("hidden.dat"), "x", 700);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // For root nothing is closed.
    let is_root = fs::read_dir(&closed).is_ok();
    world(async |world| {
        let patterns = vec![Pattern::new("*.dat").unwrap()];
        let _node = world.walking(Directory { patterns, ..every_minute(directory.path()) });
        let (_worker, ran) = world.noting();
        world.sim.advance(seconds(10)).await;
        let mut names = ran.all();
        names.sort_unstable();
        let mut expected = vec!["0.dat", "1.dat", "below/deep.dat"];
        if is_root {
            expected.push("closed/hidden.dat");
        }
        assert_eq!(names, expected);
        let told = world.feed().await.state["trouble"].as_str().unwrap().to_owned();
        assert!(told.contains("passed over"), "{told}");
    });
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_file_that_is_gone_is_forgotten_and_becomes_an_item_when_it_is_back() {
    let directory = directory(3);
    world(async |world| {
        let _node = world.walking(every_minute(directory.path()));
        let (_worker, ran) = world.noting();
        world.settled(3).await;
        fs::remove_file(directory.path().join("1.dat")).unwrap();
        world.sim.advance(seconds(70)).await;
        write(&directory.path().join("1.dat"), "x", 1_001);
        world.sim.advance(seconds(70)).await;
        assert_eq!(ran.all().len(), 4, "just as it was, but new");
    });
}

#[test]
fn a_directory_that_is_not_there_is_waited_for() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("mounted-later");
    world(async |world| {
        let _node = world.walking(every_minute(&path));
        let (_worker, ran) = world.noting();
        world.sim.advance(seconds(3_600)).await;
        let feed = world.feed().await;
        assert_eq!((feed.record.failures, feed.record.paused), (0, None));
        assert!(feed.state["trouble"].as_str().unwrap().contains("no such file"), "{}", feed.state);
        fs::create_dir(&path).unwrap();
        write(&path.join("a.dat"), "x", 500);
        world.sim.advance(seconds(70)).await;
        assert_eq!(ran.all(), ["a.dat"]);
    });
}

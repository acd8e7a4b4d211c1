//! Who has a generator for how long, which of them come first, and what becomes of the queue of one that is gone.

use taskwright_core::generator::ItemEnd;
use taskwright_core::{NewJob, Priority};

use super::Harness;
use super::fixture::{Process, at, completed, failed, job};
use super::generator::{
    LEASE_S, asks, called, commit, commit_of, generator, item, names_taken, put, settles, stored, take,
    with_items,
};
use crate::change::{Change, Changed};
use crate::generator::{GeneratorCommit, NewGenerator, StoredGenerator, TakeGenerators};

async fn renew(process: &Process, taken: &StoredGenerator, until: u64) -> bool {
    let renewed = process.store().renew_generator(taken.key, taken.fence, at(until)).await;
    renewed.expect("it is answered")
}

pub async fn a_lease_that_is_renewed_lasts_longer_and_one_that_is_let_go_of_is_over(harness: &impl Harness) {
    let process = Process::start(harness).await;
    put(&process, generator("feed", 0)).await;
    let taken = take(&process, 0).await;
    assert!(renew(&process, &taken, 2 * LEASE_S).await);
    assert_eq!(names_taken(&process, asks(LEASE_S + 1, &["feed"])).await, [""; 0]);
    assert_eq!(stored(&process, "feed").await.lease_until, Some(at(2 * LEASE_S)));
    assert!(renew(&process, &taken, 7).await);
    assert_eq!(names_taken(&process, asks(7, &["feed"])).await, ["feed"]);
    assert!(!commit(&process, 8, commit_of(&taken, 50)).await, "another has it by now");
}

pub async fn what_was_taken_by_another_is_not_renewed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    put(&process, generator("feed", 0)).await;
    let first = take(&process, 0).await;
    let second = take(&process, LEASE_S).await;
    assert!(!renew(&process, &first, 9 * LEASE_S).await);
    assert_eq!(stored(&process, "feed").await.lease_until, second.lease_until);
    assert!(commit(&process, LEASE_S, commit_of(&second, 50)).await);
    assert!(!renew(&process, &second, 9 * LEASE_S).await, "nobody has it any more");
    assert_eq!(stored(&process, "feed").await.next, Some(at(50)));
}

pub async fn those_with_better_items_come_first_but_not_for_ever(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let all = [("plain", 10, Priority::DEFAULT), ("urgent", 13, Priority::REALTIME), ("tidy", 4, Priority::IDLE)];
    for (name, next, best) in all {
        put(&process, NewGenerator { best, ..generator(name, next) }).await;
    }
    let ask = |limit| TakeGenerators { limit, ..asks(13, &["plain", "urgent", "tidy"]) };
    assert_eq!(names_taken(&process, ask(1)).await, ["tidy"], "it has been due for longer than 5 s");
    assert_eq!(names_taken(&process, ask(10)).await, ["urgent", "plain"]);
}

pub async fn members_of_families_are_taken_only_if_their_items_may_be_so_good(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for (name, best) in [("bulk:a", Priority::BULK), ("bulk:b", Priority::REALTIME), ("c", Priority::IDLE)] {
        put(&process, NewGenerator { best, ..generator(name, 0) }).await;
    }
    let (prefixes, worst) = (vec!["bulk:".to_owned()], Some(Priority::REALTIME));
    let ask = TakeGenerators { prefixes, worst, ..asks(1, &["c"]) };
    assert_eq!(names_taken(&process, ask.clone()).await, ["bulk:b", "c"], "what is asked for by name is taken");
    assert_eq!(names_taken(&process, TakeGenerators { worst: None, ..ask }).await, ["bulk:a"]);
}

pub async fn generators_that_listen_are_told_with_their_newest_definition(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let listening = async || {
        let listening = process.store().listening_generators().await.expect("it is answered");
        listening.into_iter().map(|one| format!("{} {}", one.name, one.definition)).collect::<Vec<_>>()
    };
    put(&process, generator("deaf", 0)).await;
    put(&process, NewGenerator { listens: true, ..generator("ears", 0) }).await;
    assert_eq!(listening().await, ["ears {\"window\": 7}"]);
    let definition = "{\"topics\": [\"a\"]}".to_owned();
    put(&process, NewGenerator { definition, listens: true, ..generator("deaf", 0) }).await;
    let definition = "{\"topics\": []}".to_owned();
    put(&process, NewGenerator { definition, ..generator("ears", 0) }).await;
    assert_eq!(listening().await, ["deaf {\"topics\": [\"a\"]}"]);
    assert!(process.store().remove_generator(stored(&process, "deaf").await.key).await.expect("it is removed"));
    assert_eq!(listening().await, [""; 0]);
}

pub async fn jobs_in_the_queue_of_a_generator_that_is_gone_are_claimed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let mut fails = item(1);
    fails.job.max_attempts = taskwright_core::MaxAttempts::from_code(1);
    let feed = with_items(&process, vec![fails]).await;
    let worker = process.worker(1).await;
    let claimed = worker.take(1).await;
    worker.end(1, &claimed, failed("boom")).await;
    let taken = take(&process, 100).await;
    let settled = vec![settles(1, ItemEnd::Failed)];
    assert!(commit(&process, 100, GeneratorCommit { settled, ..commit_of(&taken, 100) }).await);
    assert!(process.store().remove_generator(feed.key).await.expect("it is removed"));

    // The dead letter runs again,
    assert_eq!(process.change(101, 1, Change::Redo { repeat: false }).await, Changed::Done);
    let claimed = worker.take(102).await;
    worker.end(102, &claimed, completed()).await;
    // and so does what somebody else puts there,
    put(&process, generator("feed", 103)).await;
    let feed = stored(&process, "feed").await;
    assert!(process.store().remove_generator(feed.key).await.expect("it is removed"));
    process.enqueue(104, [NewJob { queue: called("feed").queue(), ..job(2) }]).await;
    // once somebody has looked,
    for now in 105..110 {
        process.promote(now).await;
    }
    let claimed = worker.take(110).await;
    worker.end(110, &claimed, completed()).await;
    // and what a generator of that name makes.
    with_items(&process, vec![item(3)]).await;
    worker.take(200).await;
}

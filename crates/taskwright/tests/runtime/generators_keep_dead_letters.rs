//! An item that fails for good stays as a dead letter, and holds up nothing.

use taskwright::core::generator::ItemEnd;
use taskwright::generator::{Item, Next, Poll, Polled};
use taskwright::store::{Change, Changed};
use taskwright::{Actor, Context, MaxAttempts, Namespace, State, TaskError};

use crate::generators::Scripted;
use crate::support::{handles, world};

#[test]
fn a_dead_letter_is_told_once_and_can_be_retried_or_deleted() {
    world(async |world| {
        let feed = Scripted::new(async |poll: Poll| {
            let from = poll.state.as_u64().unwrap_or(0);
            let to = 10.min(from + poll.room as u64);
            let item = |n: u64| Item::new("test").key(n.to_string()).args(&n).unwrap();
            let once = MaxAttempts::limited(1).unwrap();
            let items = (from..to).map(|n| item(n).max_attempts(once)).collect();
            Ok(Polled::new(items, to, if to < 10 { Next::Now } else { Next::Notified }))
        });
        // All 10 go through a window of 2, though 2 of them fail.
        let feed = Scripted { window: 2, ..feed };
        let told = feed.told.clone();
        let _node = world.generating(feed);
        let _worker = world.start(world.worker(handles(|ctx: Context| async move {
            match ctx.args::<u64>()? {
                n if n % 5 == 3 && ctx.attempt() == 1 => Err(TaskError::retry(format!("{n} is bad"))),
                _ => Ok(()),
            }
        })));
        let counts = world.settled(10).await.record.counts;
        assert_eq!((counts.completed, counts.failed), (8, 2));
        let failed: Vec<_> = told.all().into_iter().filter(|one| one.end == ItemEnd::Failed).collect();
        assert_eq!(
            failed.iter().map(|one| one.error.as_deref().unwrap()).collect::<Vec<_>>(),
            ["3 is bad", "8 is bad"]
        );

        let (generators, namespace, name) =
            (world.client.generators(), Namespace::default(), "feed".parse().unwrap());
        let letters = async || generators.dead_letters(&namespace, &name, None, 100).await.unwrap().0;
        let dead = letters().await;
        assert_eq!(dead.iter().map(|job| job.id).collect::<Vec<_>>(), [failed[1].job, failed[0].job]);
        let alice = Actor::new("alice").unwrap();
        let change = async |n: usize, change| {
            world.client.change(vec![dead[n].id], change, alice.clone(), None).await.unwrap().remove(0)
        };
        assert_eq!(change(0, Change::Redo { repeat: false }).await, Changed::Done);
        assert_eq!(change(1, Change::Delete).await, Changed::Done);
        assert_eq!(world.over(dead[0].id).await.view.state, State::Completed);
        assert_eq!(letters().await, []);
        assert_eq!((told.all().len(), world.feed().await.record.counts), (10, counts), "each was told once");
    });
}

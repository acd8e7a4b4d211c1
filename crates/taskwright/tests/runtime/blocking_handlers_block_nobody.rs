//! Handlers that block their threads run on threads for such, and neither hold up others nor the lease of their worker.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use taskwright::store::{SharedStore, memory::MemoryStore};
use taskwright::{App, Client, Context, Env, Registry, State, TaskError, Worker, task};
use tokio::sync::Notify;

use crate::support::world;

#[task("hash", blocking)]
fn hash(rounds: u64, ctx: &Context) -> Result<u64, TaskError> {
    ctx.progress(rounds, None, None);
    Ok((0..rounds).fold(1, |hash: u64, round| hash.rotate_left(7) ^ round))
}

#[task("panic", blocking, max_attempts = 1)]
fn panics() -> Result<(), TaskError> {
    panic!("too hot")
}

/// A door that blocks whoever goes through it before it is opened, and counts who is there.
#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
    most: AtomicUsize,
    came: Notify,
}

impl Door {
    fn pass(&self) {
        let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(waiting, Ordering::SeqCst);
        self.came.notify_one();
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

#[task("door", name = PassDoor, blocking, timeout = "50ms", cancel_grace = "1ms", max_attempts = 1)]
fn door(#[state] door: &Arc<Door>) -> Result<(), TaskError> {
    door.pass();
    Ok(())
}

#[task("gate", blocking)]
fn gate(#[state] door: &Arc<Door>) -> Result<(), TaskError> {
    door.pass();
    Ok(())
}

#[test]
fn a_blocking_function_has_its_arguments_and_its_context() {
    world(async |world| {
        let registry = Registry::new().register::<Hash>().unwrap().register::<Panics>().unwrap();
        let worker = world.start(world.worker(registry));
        let job = world.client.enqueue(Hash { rounds: 3 }).await.unwrap();
        assert_eq!(
            job.output().await.unwrap(),
            ((1_u64.rotate_left(7)).rotate_left(7) ^ 1).rotate_left(7) ^ 2
        );
        let over = world.client.enqueue(Panics).await.unwrap().wait().await.unwrap();
        let error = over.view.error.unwrap();
        assert!(over.view.state == State::Failed && error.contains("too hot"), "{error}");
        assert!(error.contains("blocking_handlers_block_nobody.rs"), "the place is told: {error}");
        worker.stop().await;
    });
}

/// On real threads: two block, a third waits for its turn, and an async handler of the same worker, on the one thread of the runtime,
/// goes on meanwhile.
#[test]
fn as_many_block_as_the_worker_lets_and_others_go_on() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let shared = Arc::new(Door::default());
        let app = App::new()
            .store("memory:")
            .state(Arc::clone(&shared))
            .task::<Gate>()
            .handler("quick", |_| async { Ok("done") })
            .worker(|worker| worker.concurrency(8).blocking(2));
        let client = app.client().await.unwrap();
        let mut gates = Vec::new();
        for _ in 0..3 {
            gates.push(client.enqueue(Gate).await.unwrap());
        }
        let test = async {
            while shared.waiting.load(Ordering::SeqCst) < 2 {
                shared.came.notified().await;
            }
            let quick = client.enqueue(taskwright::Job::new("quick")).await.unwrap();
            assert_eq!(quick.result::<String>().await.unwrap(), "done");
            shared.open();
            for gate in gates {
                gate.output().await.unwrap();
            }
        };
        let summary = app.run_until(test).await.unwrap();
        assert_eq!(summary.completed, 4);
        assert_eq!(shared.most.load(Ordering::SeqCst), 2, "the third had to wait");
    });
}

#[test]
fn one_that_outlives_its_attempt_keeps_its_thread_and_not_its_job() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (store, env): (SharedStore, _) = (Arc::new(MemoryStore::new()), Env::system());
        let shared = Arc::new(Door::default());
        let registry = Registry::new().state(Arc::clone(&shared)).register::<PassDoor>().unwrap();
        let client = Client::new(store.clone(), env.clone());
        let job = client.enqueue(PassDoor).await.unwrap();
        let worker = Worker::builder(store, registry, env).blocking(1).until_empty();
        worker.run(std::future::pending()).await.unwrap();
        let over = job.wait_for(Duration::from_secs(10)).await.unwrap();
        assert_eq!(over.view.state, State::Failed);
        assert!(over.view.error.unwrap().contains("timed out"));
        // It may come to the door after its time is over.
        while shared.waiting.load(Ordering::SeqCst) < 1 {
            shared.came.notified().await;
        }
        shared.open();
    });
}

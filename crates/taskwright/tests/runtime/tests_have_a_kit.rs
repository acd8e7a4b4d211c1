//! The testing kit: jobs run when the test says so, at once, or as in production; what was enqueued is asserted; one attempt is performed
//! and looked at; calls fail and workers die where a test says.

use std::sync::Arc;
use std::time::Duration;

use taskwright::core::attempt::AttemptEnd;
use taskwright::store::memory::MemoryStore;
use taskwright::testing::{Call, KillSwitch, Kit, Mode, Sim, When, perform, simulate};
use taskwright::{
    App, Client, Context, Job, Outcome, Schedule, State, TaskError, Trigger, assert_enqueued,
    refute_enqueued, task,
};

use crate::support::{Notes, seconds};

const HOUR: Duration = Duration::from_secs(3_600);

#[task("email.welcome")]
async fn welcome(user: u64, #[state] notes: &Notes<u64>) -> Result<String, TaskError> {
    notes.add(user);
    Ok(format!("welcome, user {user}"))
}

/// Makes a job for each, and reports how far it is.
#[task("import", max_attempts = 3)]
async fn import(ctx: Context, users: Vec<u64>) -> Result<usize, TaskError> {
    let sum = ctx.step("sum", || async { Ok(users.iter().sum::<u64>()) }).await?;
    ctx.log(format!("the sum is {sum}"));
    for (done, user) in (1..).zip(&users) {
        ctx.then(&Welcome { user: *user })?;
        ctx.progress(done, Some(users.len() as u64), None);
    }
    Ok(users.len())
}

#[task("flaky", max_attempts = 2)]
async fn flaky(ctx: Context) -> Result<u32, TaskError> {
    match ctx.attempt() {
        1 => Err(TaskError::retry_after("not yet", HOUR)),
        attempt => Ok(attempt),
    }
}

#[task("slow", timeout = "1h", cancel_grace = "1s")]
async fn slow(ctx: Context) -> Result<(), TaskError> {
    ctx.log("it begins");
    ctx.pause(24 * HOUR).await
}

fn app(notes: &Notes<u64>) -> App {
    App::new().state(notes.clone()).task::<Welcome>().task::<Import>().task::<Flaky>().task::<Slow>()
}

async fn kit(sim: &Sim, notes: &Notes<u64>, mode: Mode) -> Kit {
    Kit::of(app(notes)).mode(mode).start(sim).await.unwrap()
}

#[test]
fn by_hand_nothing_runs_until_the_test_says_so_and_one_job_at_a_time() {
    simulate(1, async |sim| {
        let notes = Notes::new();
        let kit = kit(&sim, &notes, Mode::Manual).await;
        let client = kit.client();
        client.enqueue(Welcome { user: 1 }).await.unwrap();
        client.enqueue(Import { users: vec![2, 3] }).await.unwrap();
        sim.advance(HOUR).await;
        assert!(notes.all().is_empty());
        let first = kit.run_next().await.unwrap().unwrap();
        assert_eq!((first.view.kind.as_str(), first.view.state), ("email.welcome", State::Completed));
        assert_eq!(notes.all(), [1]);
        // What the other leads to runs as well.
        assert_eq!(kit.drain().await.unwrap().completed, 3);
        assert_eq!(notes.all(), [1, 2, 3]);
        assert!(kit.run_next().await.unwrap().is_none());
    });
}

#[test]
fn inline_what_is_enqueued_has_run_when_the_call_returns_also_within_handlers() {
    simulate(1, async |sim| {
        let notes = Notes::<u64>::new();
        let kit = Kit::of(app(&notes)).mode(Mode::Inline).start(&sim).await.unwrap();
        let job = kit.client().enqueue(Import { users: vec![2, 3] }).await.unwrap();
        assert_eq!(job.job().await.unwrap().view.state, State::Completed);
        assert_eq!(notes.all(), [2, 3]);
        kit.client().enqueue_many([&Welcome { user: 4 }, &Welcome { user: 5 }]).await.unwrap();
        assert_eq!(notes.all(), [2, 3, 4, 5]);
        let later = Job::of(&Welcome { user: 6 }).run_in(HOUR);
        assert_eq!(
            kit.client().enqueue(later).await.unwrap().job().await.unwrap().view.state,
            State::Scheduled
        );
    });
}

#[test]
fn inline_within_inline_runs_too() {
    simulate(1, async |sim| {
        let (notes, cell) = (Notes::<u64>::new(), Arc::new(tokio::sync::OnceCell::new()));
        let app =
            app(&notes).handler("nested", {
                let cell: Arc<tokio::sync::OnceCell<Client>> = Arc::clone(&cell);
                move |_| {
                    let cell = Arc::clone(&cell);
                    async move {
                        Ok(cell.get().unwrap().enqueue(Welcome { user: 9 }).await?.job().await?.view.state)
                    }
                }
            });
        let kit = Kit::of(app).mode(Mode::Inline).start(&sim).await.unwrap();
        assert!(cell.set(kit.client().clone()).is_ok());
        let job = kit.client().enqueue(Job::new("nested")).await.unwrap();
        assert_eq!(job.result::<String>().await.unwrap(), "completed");
        assert_eq!(notes.all(), [9]);
    });
}

#[test]
fn beside_the_test_retries_schedules_and_time_limits_come_in_order() {
    simulate(1, async |sim| {
        let notes = Notes::new();
        let nightly = Schedule::builder("nightly".parse().unwrap(), "email.welcome".parse().unwrap())
            .trigger(Trigger::read("cron", "0 3 * * *", None).unwrap())
            .args(serde_json::json!({"user": 3}))
            .build()
            .unwrap();
        let kit = Kit::of(app(&notes).schedule(nightly)).mode(Mode::Drain).start(&sim).await.unwrap();
        let begin = sim.env().now();
        let job = kit.client().enqueue(Flaky {}).await.unwrap();
        let stuck = kit.client().enqueue(Slow {}).await.unwrap();
        sim.advance(HOUR - seconds(1)).await;
        assert_eq!(job.job().await.unwrap().view.state, State::Retryable);
        sim.advance(seconds(2)).await;
        let over = job.job().await.unwrap();
        assert_eq!(
            (over.view.state, over.view.ended_at.unwrap().since(begin).as_secs()),
            (State::Completed, 3_600)
        );
        let late = stuck.job().await.unwrap();
        assert_eq!(
            (late.view.state, late.view.error.as_deref()),
            (State::Retryable, Some("timed out after 3600s"))
        );
        assert!(notes.all().is_empty(), "it is 1 o'clock");
        sim.advance(2 * HOUR).await;
        assert_eq!(notes.all(), [3]);
    });
}

#[test]
fn what_was_enqueued_is_asserted_by_task_by_kind_within_a_block_and_in_time() {
    simulate(1, async |sim| {
        let kit = kit(&sim, &Notes::new(), Mode::Manual).await;
        let client = kit.client().clone();
        refute_enqueued!(client, Welcome { user: 7 });
        client.enqueue(Welcome { user: 7 }).await.unwrap();
        let id = assert_enqueued!(client, Welcome { user: 7 });
        assert_eq!(assert_enqueued!(client, "email.welcome"), id);
        refute_enqueued!(client, Welcome { user: 8 });
        let twin = assert_enqueued!(
            client,
            Welcome { user: 7 },
            within = client.enqueue(Welcome { user: 7 }).await.unwrap()
        );
        assert_ne!(twin, id, "one of before does not count");
        refute_enqueued!(client, Welcome { user: 7 }, within = client.enqueue(Flaky {}).await.unwrap());
        let (later, env) = (client.clone(), sim.env());
        let _late = sim.env().spawn("late", async move {
            env.sleep(seconds(3)).await;
            later.enqueue(Import { users: vec![] }).await.unwrap();
        });
        let began = sim.env().monotonic_us();
        assert_enqueued!(client, Import { users: vec![] }, timeout = seconds(5));
        assert!((3_000_000..3_100_000).contains(&(sim.env().monotonic_us() - began)));
        // What has run does not wait; what ran within a block was enqueued there.
        kit.drain().await.unwrap();
        refute_enqueued!(client, "email.welcome");
        let ran = async {
            client.enqueue(Welcome { user: 1 }).await.unwrap();
            kit.drain().await.unwrap()
        };
        assert_enqueued!(client, Welcome { user: 1 }, within = ran.await);
        // What the block began may take its time; an equal one of before does not count for it, either.
        let before = client.enqueue(Welcome { user: 2 }).await.unwrap().id;
        let began = sim.env().monotonic_us();
        let begin = || {
            let (later, env) = (client.clone(), sim.env());
            sim.env().spawn("late", async move {
                env.sleep(seconds(3)).await;
                later.enqueue(Welcome { user: 2 }).await.unwrap();
            })
        };
        let mut begun = Vec::new();
        let late =
            assert_enqueued!(client, Welcome { user: 2 }, within = begun.push(begin()), timeout = seconds(5));
        assert!(late != before && (3_000_000..3_100_000).contains(&(sim.env().monotonic_us() - began)));
        assert_enqueued!(client, Welcome { user: 2 }, timeout = seconds(5), within = begun.push(begin()));
    });
}

#[test]
#[should_panic(
    expected = "no email.welcome was enqueued with {\"user\":8}; there is\n  email.welcome {\"user\":7} (available, queue default)"
)]
fn an_assertion_that_fails_says_what_is_there_instead() {
    simulate(1, async |sim| {
        let kit = kit(&sim, &Notes::new(), Mode::Manual).await;
        kit.client().enqueue(Welcome { user: 7 }).await.unwrap();
        assert_enqueued!(kit.client(), Welcome { user: 8 });
    });
}

#[test]
#[should_panic(expected = "it was enqueued: ")]
fn a_refutation_fails_when_there_is_one() {
    simulate(1, async |sim| {
        let kit = kit(&sim, &Notes::new(), Mode::Manual).await;
        kit.client().enqueue(Welcome { user: 7 }).await.unwrap();
        refute_enqueued!(kit.client(), Welcome { user: 7 });
    });
}

#[test]
#[should_panic(expected = "nobody knows what was enqueued")]
fn a_refutation_fails_when_the_store_cannot_be_asked() {
    simulate(1, async |sim| {
        let kit = kit(&sim, &Notes::new(), Mode::Manual).await;
        kit.faults().fail(Call::List, 1..=1, When::Before);
        refute_enqueued!(kit.client(), Welcome { user: 7 });
    });
}

#[test]
fn one_attempt_is_performed_and_everything_about_it_told() {
    simulate(1, async |sim| {
        let performed = perform(Import { users: vec![4, 5] }).run(&sim).await;
        assert_eq!((performed.job.view.state, performed.output()), (State::Completed, 2));
        assert_eq!(performed.outcome, Some(Outcome::Completed { result: Some("2".to_owned()) }));
        assert_eq!(performed.log, "the sum is 9\n");
        let progress = performed.progress.as_ref().unwrap();
        assert_eq!((progress.done, progress.total), (2, Some(2)));
        let users: Vec<Welcome> = performed.follow_ups.iter().map(|job| job.args.parse().unwrap()).collect();
        assert_eq!(users.iter().map(|welcome| welcome.user).collect::<Vec<_>>(), [4, 5]);
        let steps: Vec<_> =
            performed.steps.iter().map(|step| (step.name.as_str(), step.result.as_str())).collect();
        assert_eq!(steps, [("sum", "9")]);
        assert_eq!(performed.error(), None);
    });
}

#[test]
fn an_attempt_is_performed_with_its_state_after_others_and_while_somebody_cancels() {
    simulate(1, async |sim| {
        let notes = Notes::new();
        let performed = perform(Welcome { user: 7 }).state(notes.clone()).run(&sim).await;
        assert_eq!((performed.output().as_str(), notes.all()), ("welcome, user 7", vec![7]));
        assert_eq!(perform(Welcome { user: 8 }).of(app(&notes)).run(&sim).await.output(), "welcome, user 8");

        let first = perform(Flaky {}).run(&sim).await;
        assert_eq!((first.job.view.state, first.error()), (State::Retryable, Some("not yet")));
        let second = perform(Flaky {}).attempt(2).run(&sim).await;
        assert_eq!((second.output(), second.job.attempts.len()), (2, 2));

        let cancelled = perform(Slow {}).cancelled_after(seconds(5)).run(&sim).await;
        assert_eq!((cancelled.job.view.state, cancelled.log.as_str()), (State::Cancelled, "it begins\n"));
        let owned =
            perform(Slow {}).job(|job| job.owner("alice")).cancelled_after(seconds(1)).run(&sim).await;
        assert_eq!(owned.job.view.owner.as_ref().unwrap().as_str(), "alice");
    });
}

#[test]
#[should_panic(expected = "it has no attempt 3: what it may have is used up")]
fn an_attempt_that_the_job_does_not_have_is_refused() {
    simulate(1, async |sim| drop(perform(Flaky {}).attempt(3).run(&sim).await));
}

/// Dies in its first attempt.
#[task("fragile")]
async fn fragile(ctx: Context, #[state] kill: &KillSwitch) -> Result<u32, TaskError> {
    if ctx.attempt() == 1 {
        kill.here().await;
    }
    Ok(ctx.attempt())
}

#[test]
fn a_worker_dies_where_its_handler_says_or_at_a_call_of_the_store_and_its_jobs_run_again() {
    simulate(1, async |sim| {
        let kill = KillSwitch::new();
        let app = App::new().state(kill.clone()).task::<Fragile>().task::<Flaky>();
        let kit = Kit::of(app).mode(Mode::Drain).killed_by(&kill).start(&sim).await.unwrap();
        let job = kit.client().enqueue(Fragile {}).await.unwrap();
        assert_eq!(job.output().await.unwrap(), 2);
        assert_eq!(job.job().await.unwrap().attempts[0].end, AttemptEnd::Lost);

        // The end of the attempt is stored, and nobody hears of it.
        kit.faults().kill(Call::Finish, kit.faults().count(Call::Finish) + 1, When::After, &kill);
        let stored = kit.client().enqueue(Flaky {}).await.unwrap();
        sim.advance(HOUR + seconds(60)).await;
        let over = stored.job().await.unwrap();
        assert_eq!((over.view.state, over.view.attempt), (State::Completed, 2));
        // It is not, and the attempt is lost with the worker.
        kit.faults().kill(Call::Finish, kit.faults().count(Call::Finish) + 1, When::Before, &kill);
        let lost = kit.client().enqueue(Flaky {}).await.unwrap();
        sim.advance(HOUR).await;
        let over = lost.job().await.unwrap();
        assert_eq!((over.view.state, over.attempts[0].end), (State::Completed, AttemptEnd::Lost));
    });
}

#[test]
fn a_call_fails_and_an_answer_is_lost_and_no_job_is_made_twice() {
    simulate(1, async |sim| {
        let notes = Notes::new();
        let kit = kit(&sim, &notes, Mode::Drain).await;
        kit.faults().fail(Call::Enqueue, 1..=1, When::After);
        kit.faults().fail(Call::EnqueueTo, 1..=1, When::After);
        kit.client().enqueue(Welcome { user: 7 }).await.unwrap();
        sim.advance(seconds(60)).await;
        assert_eq!(notes.all(), [7]);
    });
}

#[test]
fn on_sqlite_in_memory_transactions_count_and_a_killed_worker_is_lost() {
    use taskwright::store::sqlite::{Options, SqliteStore};

    let other = SqliteStore::in_memory(Options::default()).unwrap();
    simulate(1, async |sim| {
        let (kill, sqlite) = (KillSwitch::new(), SqliteStore::in_memory(Options::default()).unwrap());
        let mut shop = sqlite.connect().unwrap();
        let app = App::new().state(kill.clone()).task::<Fragile>();
        let kit = Kit::of(app).mode(Mode::Drain).killed_by(&kill).sqlite(sqlite).start(&sim).await.unwrap();

        let refused = shop.transaction().unwrap();
        kit.client().enqueue_in(&refused, Fragile {}).unwrap();
        drop(refused);
        let tx = shop.transaction().unwrap();
        let id = kit.client().enqueue_in(&tx, Fragile {}).unwrap().id;
        tx.commit().unwrap();
        let over = kit.client().wait(id, None).await.unwrap();
        let ends: Vec<_> = over.attempts.iter().map(|attempt| attempt.end).collect();
        assert_eq!(ends, [AttemptEnd::Lost, AttemptEnd::Completed]);
        assert_eq!(kit.client().store().info().kind, "sqlite");

        // Each is a database of its own.
        let mut elsewhere = other.connect().unwrap();
        let error = kit.client().enqueue_in(&elsewhere.transaction().unwrap(), Fragile {}).unwrap_err();
        assert!(error.to_string().contains("taskwright-memory-"), "{error}");
    });
}

#[test]
fn time_stands_still_while_a_real_file_is_written() {
    use taskwright::store::sqlite::{Options, SqliteStore};

    let directory = tempfile::tempdir().unwrap();
    simulate(1, async |sim| {
        let store = SqliteStore::open(&directory.path().join("test.db"), Options::default()).unwrap();
        let notes = Notes::new();
        let kit = Kit::of(app(&notes)).store(Arc::new(store)).start(&sim).await.unwrap();
        let began = sim.env().monotonic_us();
        for user in 0..50 {
            kit.client().enqueue(Welcome { user }).await.unwrap();
        }
        assert_eq!(sim.env().monotonic_us(), began);
        assert_eq!(kit.drain().await.unwrap().completed, 50);

        let job = kit.client().enqueue(Flaky {}).await.unwrap();
        assert_eq!(kit.drain().await.unwrap().retried, 1);
        sim.advance(HOUR).await;
        assert_eq!(kit.drain().await.unwrap().completed, 1);
        assert_eq!(job.output().await.unwrap(), 2);
    });
}

#[test]
fn two_kits_know_nothing_of_each_other() {
    simulate(1, async |sim| {
        let notes = Notes::new();
        let (one, other) = (kit(&sim, &notes, Mode::Manual).await, kit(&sim, &notes, Mode::Manual).await);
        one.client().enqueue(Welcome { user: 7 }).await.unwrap();
        refute_enqueued!(other.client(), Welcome { user: 7 });
        assert_eq!(other.drain().await.unwrap().completed, 0);
        // Also where the app said another store.
        let shared = App::new().store(Arc::new(MemoryStore::new()) as taskwright::store::SharedStore);
        assert!(Kit::of(shared).start(&sim).await.unwrap().run_next().await.unwrap().is_none());
    });
}

#[task("render", process, max_rss = "1GiB")]
async fn render(ctx: Context, pages: u64) -> Result<String, TaskError> {
    let first = ctx.step("first", || async { Ok(ctx.attempt()) }).await?;
    ctx.sleep_named("ink.dries", HOUR).await?;
    Ok(format!("{pages} pages by process {} in attempt {first}", std::process::id()))
}

/// The program of the tests must not be started for an attempt, in which all of them would run.
#[test]
fn a_task_with_a_process_of_its_own_runs_in_that_of_the_test() {
    let here = format!("3 pages by process {} in attempt 1", std::process::id());
    for mode in [Mode::Manual, Mode::Inline, Mode::Drain] {
        simulate(1, async |sim| {
            let kit = Kit::of(App::new().task::<Render>()).mode(mode).start(&sim).await.unwrap();
            let job = kit.client().enqueue(Render { pages: 3 }).await.unwrap();
            kit.drain().await.unwrap();
            sim.advance(HOUR).await;
            kit.drain().await.unwrap();
            assert_eq!(job.output().await.unwrap(), here, "{mode:?}");
        });
    }
    simulate(1, async |sim| {
        let performed = perform(Render { pages: 3 }).run(&sim).await;
        assert!(matches!(performed.outcome, Some(Outcome::Snooze { delay }) if delay == HOUR));
        let steps: Vec<_> = performed.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(steps, ["first", "ink.dries"]);
    });
}

#[test]
fn a_worker_on_a_simulated_clock_starts_no_process_and_says_what_to_use() {
    simulate(1, async |sim| {
        let app = App::new().env(sim.env()).store("memory:").task::<Render>();
        let job = app.client().await.unwrap().enqueue(Render { pages: 3 }).await.unwrap();
        assert_eq!(app.run_until_empty().await.unwrap().failed, 1, "once and for all");
        let error = job.job().await.unwrap().view.error.unwrap();
        assert!(error.contains("simulated clock") && error.contains("testing::Kit"), "{error}");
    });
}

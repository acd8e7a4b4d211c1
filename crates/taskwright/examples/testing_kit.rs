//! How a program is tested: on a virtual clock, on which three hours of retries take no time, with a store of each test's own, and with
//! everything to be seen that an attempt did. In a program of yours, the functions below are tests.
//!
//! `cargo run -p taskwright --example testing_kit`

use std::time::Duration;

use taskwright::testing::{Kit, Mode, perform, simulate};
use taskwright::{
    App, Backoff, Client, Context, Env, State, TaskError, assert_enqueued, refute_enqueued, task,
};

const HOUR: Duration = Duration::from_secs(3_600);

#[task("email.welcome", backoff = Backoff::Fixed { delay: HOUR })]
async fn welcome(user: u64, ctx: &Context) -> Result<String, TaskError> {
    ctx.log("sending");
    if ctx.attempt() < 4 { Err(TaskError::retry("not yet")) } else { Ok(format!("welcome, user {user}")) }
}

/// What is tested.
async fn sign_up(client: &Client, user: u64) -> Result<(), taskwright::Error> {
    if user != 0 {
        client.enqueue(Welcome { user }).await?;
    }
    Ok(())
}

fn whoever_signs_up_is_welcomed_and_nobody_else() {
    simulate(1, async |sim| {
        let kit = Kit::of(App::new().task::<Welcome>()).start(&sim).await.unwrap();
        let client = kit.client();
        let id = assert_enqueued!(client, Welcome { user: 7 }, within = sign_up(client, 7).await);
        refute_enqueued!(client, "email.welcome", within = sign_up(client, 0).await.unwrap());
        // By hand: nothing runs until the test says so.
        assert_eq!(kit.drain().await.unwrap().retried, 1);
        assert_eq!(client.job(id).await.unwrap().unwrap().view.state, State::Retryable);
    });
}

fn three_hours_of_retries_take_no_time() {
    simulate(1, async |sim| {
        let kit = Kit::of(App::new().task::<Welcome>()).mode(Mode::Drain).start(&sim).await.unwrap();
        let begin = sim.env().now();
        let job = kit.client().enqueue(Welcome { user: 7 }).await.unwrap();
        assert_eq!(job.output().await.unwrap(), "welcome, user 7");
        let passed = sim.env().now().since(begin);
        println!("on the virtual clock: {} minutes", passed.as_secs() / 60);
        // 20 % of jitter to both sides.
        assert!((2 * HOUR..4 * HOUR).contains(&passed));
    });
}

fn the_fourth_attempt_is_looked_at() {
    simulate(1, async |sim| {
        let fourth = perform(Welcome { user: 7 }).attempt(4).run(&sim).await;
        assert_eq!((fourth.output().as_str(), fourth.log.as_str()), ("welcome, user 7", "sending\n"));
        assert!(fourth.follow_ups.is_empty());
    });
}

fn main() {
    let env = Env::system();
    let began_us = env.monotonic_us();
    whoever_signs_up_is_welcomed_and_nobody_else();
    three_hours_of_retries_take_no_time();
    the_fourth_attempt_is_looked_at();
    let took = Duration::from_micros(env.monotonic_us() - began_us);
    println!("on the wall: {took:?}");
    assert!(took < Duration::from_secs(30));
}

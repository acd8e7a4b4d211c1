//! Cancel and time limit: the handler is asked to stop, may clean up, and is dropped if it does not stop within its grace. On a virtual
//! clock.
//!
//! `cargo run -p taskwright --example cancel_and_timeout`

use std::time::Duration;

use taskwright::testing::{Kit, Mode, simulate};
use taskwright::{Actor, App, Context, JobHandle, State, TaskError, task};

const MINUTE: Duration = Duration::from_secs(60);

#[task("backup", timeout = "1h", cancel_grace = "10s", max_attempts = 1)]
async fn backup(disk: String, ctx: &Context) -> Result<(), TaskError> {
    loop {
        // Ready at once with an error when it is asked to stop; `ctx.check()?` looks without waiting.
        if let Err(stop) = ctx.pause(MINUTE).await {
            if let Some(cause) = ctx.stop_cause() {
                println!("{disk}: {cause}; removing what was copied");
            }
            return Err(stop);
        }
    }
}

/// Hears nothing.
#[task("stubborn", timeout = "1h", cancel_grace = "10s", max_attempts = 1)]
async fn stubborn() {
    std::future::pending::<()>().await;
}

fn main() -> Result<(), taskwright::Error> {
    simulate(1, async |sim| {
        let app = App::new().task::<Backup>().task::<Stubborn>().worker(|worker| worker.concurrency(3));
        let kit = Kit::of(app).mode(Mode::Drain).start(&sim).await?;
        let client = kit.client();
        let home = client.enqueue(Backup { disk: "home".to_owned() }).await?;
        let mail = client.enqueue(Backup { disk: "mail".to_owned() }).await?;
        let stubborn = client.enqueue(Stubborn {}).await?;

        sim.advance(5 * MINUTE).await;
        let why = || Some("the disk is full".to_owned());
        assert!(home.cancel(Actor::system(), why()).await?, "true for the call that set the request");
        assert!(!home.cancel(Actor::system(), why()).await?, "and for no other");

        assert_eq!(tell("home", home).await?, (State::Cancelled, 300));
        assert_eq!(tell("mail", mail).await?, (State::Failed, 3_600));
        assert_eq!(tell("stubborn", stubborn).await?, (State::Failed, 3_610));
        Ok(())
    })
}

async fn tell<O>(name: &str, job: JobHandle<O>) -> Result<(State, u64), taskwright::Error> {
    let job = job.wait().await?.view;
    let ran = job.ended_at.unwrap_or(job.created_at).since(job.created_at).as_secs();
    println!("{name}: {} after {ran} s: {}", job.state, job.error.unwrap_or_default());
    Ok((job.state, ran))
}

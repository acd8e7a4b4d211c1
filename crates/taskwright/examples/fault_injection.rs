//! Faults in tests: an answer of the store that is lost after the commit, and a worker that dies before its job's end is written. What is
//! promised holds: a job that is asked for once is there once, and what was not written down runs again.
//!
//! `cargo run -p taskwright --example fault_injection`

use taskwright::testing::{Call, KillSwitch, Kit, Mode, When, simulate};
use taskwright::{App, Context, TaskError, task};

#[task("report")]
async fn report(ctx: &Context) -> Result<u32, TaskError> {
    println!("  attempt {}", ctx.attempt());
    Ok(ctx.attempt())
}

fn app() -> App {
    App::new().task::<Report>()
}

fn main() -> Result<(), taskwright::Error> {
    simulate(1, async |sim| {
        println!("the answer to an enqueue is lost after the commit");
        let kit = Kit::of(app()).start(&sim).await?;
        kit.faults().fail(Call::Enqueue, 1..=1, When::After);
        kit.client().enqueue(Report {}).await?;
        let (sent, ran) = (kit.faults().count(Call::Enqueue), kit.drain().await?.completed);
        println!("  sent {sent} times, run {ran} time");
        assert_eq!((sent, ran), (2, 1), "sent again with the same id");
        Ok::<_, taskwright::Error>(())
    })?;
    simulate(1, async |sim| {
        println!("a worker dies before the end of its job is written");
        let kill = KillSwitch::new();
        let kit = Kit::of(app()).mode(Mode::Drain).killed_by(&kill).start(&sim).await?;
        kit.faults().kill(Call::Finish, 1, When::Before, &kill);
        let attempts = kit.client().enqueue(Report {}).await?.output().await?;
        assert_eq!(attempts, 2, "at least once");
        Ok(())
    })
}

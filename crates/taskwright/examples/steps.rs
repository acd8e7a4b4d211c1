//! Durable steps: what a step gave is kept, so that a handler that is called again does not do it again: after a crash of its worker, and
//! after a sleep of an hour that holds no worker. On a virtual clock, with a worker that is killed.
//!
//! `cargo run -p taskwright --example steps`

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use taskwright::testing::{KillSwitch, Kit, Mode, simulate};
use taskwright::{App, Context, TaskError, task};

/// How often it was called, charged and shipped.
#[derive(Default)]
struct Counts([AtomicU32; 3]);

impl Counts {
    fn count(&self, what: usize) -> u32 {
        self.0[what].fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[task("order.fulfil")]
async fn fulfil(
    card: String,
    ctx: &Context,
    #[state] counts: &Arc<Counts>,
    #[state] kill: &KillSwitch,
) -> Result<String, TaskError> {
    println!("{}: call {}, attempt {}", ctx.env().now(), counts.count(0), ctx.attempt());
    let charge = || async {
        println!("  {card} is charged");
        Ok(u64::from(counts.count(1)))
    };
    let payment = ctx.step("charge", charge).await?;
    if ctx.attempt() == 1 {
        // As by `kill -9`.
        kill.here().await;
    }
    ctx.sleep(Duration::from_secs(3_600)).await?;
    let ship = || async {
        println!("  the parcel is shipped");
        Ok(format!("payment {payment}, parcel {}", counts.count(2)))
    };
    ctx.step("ship", ship).await
}

fn main() -> Result<(), taskwright::Error> {
    simulate(1, async |sim| {
        let (kill, counts) = (KillSwitch::new(), Arc::new(Counts::default()));
        let app = App::new().state(kill.clone()).state(Arc::clone(&counts)).task::<Fulfil>();
        let kit = Kit::of(app).mode(Mode::Drain).killed_by(&kill).start(&sim).await?;
        let job = kit.client().enqueue(Fulfil { card: "card 7".to_owned() }).await?;
        println!("{}", job.output().await?);
        let counted = counts.0.each_ref().map(|count| count.load(Ordering::Relaxed));
        assert_eq!(counted, [3, 1, 1], "called three times, charged and shipped once");
        Ok(())
    })
}

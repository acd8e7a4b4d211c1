//! Priorities: the lower number runs first, in named bands or as any number, and what waits grows older: one band an hour, so that
//! nothing waits for ever. The hours are those of a virtual clock.
//!
//! `cargo run -p taskwright --example priorities`

use std::time::Duration;

use taskwright::testing::{Kit, simulate};
use taskwright::{App, Job, Priority, task};

#[task("print", priority = bulk)]
async fn print(what: String) {
    println!("{what}");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    simulate(1, async |sim| {
        let kit = Kit::of(App::new().task::<Print>()).start(&sim).await?;
        let client = kit.client();
        let job = |what: &str| Job::of(&Print { what: what.to_owned() });

        client.enqueue(job("bulk, of four hours ago")).await?;
        sim.advance(Duration::from_secs(4 * 3_600)).await;
        client.enqueue(job("bulk")).await?;
        client.enqueue(job("default").priority(Priority::DEFAULT)).await?;
        client.enqueue(job("the number 1700").priority("1700".parse()?)).await?;
        client.enqueue(job("realtime").priority(Priority::REALTIME)).await?;

        let mut order = Vec::new();
        while let Some(job) = kit.run_next().await? {
            order.push(job.args.parse::<Print>()?.what);
        }
        assert_eq!(order, ["bulk, of four hours ago", "realtime", "the number 1700", "default", "bulk"]);
        Ok(())
    })
}

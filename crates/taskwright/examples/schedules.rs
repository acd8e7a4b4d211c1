//! Schedules: cron on the wall clock of a time zone, an interval, and what is made up for after three days in which nobody was up. On a
//! virtual clock.
//!
//! `cargo run -p taskwright --example schedules`

use std::time::Duration;

use taskwright::core::schedule::{Misfire, Overlap};
use taskwright::core::trigger::CustomTriggers;
use taskwright::testing::{Kit, simulate};
use taskwright::{App, Context, Schedule, TaskError, Trigger, task};

/// The app registers these when it runs.
#[task(
    "report",
    schedule(
        name = "morning",
        cron = "0 8 * * 1-5",
        timezone = "Europe/Berlin",
        args = r#"{"of": "the day"}"#
    )
)]
async fn report(of: String) {
    println!("  the report of {of}");
}

#[task("cache.sweep", schedule(every = "15m"))]
async fn sweep(ctx: &Context) {
    println!("  swept at {}", ctx.env().now());
}

/// The same with policies: after a pause, the newest three that were missed, each with the time it was due.
fn meters() -> Result<Schedule, taskwright::core::Error> {
    Schedule::builder("meters".parse()?, "meter.read".parse()?)
        .trigger(Trigger::read("cron", "0 * * * *", None)?)
        .args(serde_json::json!({"due": "{due}"}))
        .misfire(Misfire::all(3)?)
        .overlap(Overlap::Allow)
        .build()
}

#[task("meter.read")]
async fn read_meter(due: String) -> Result<(), TaskError> {
    println!("  the meter of {due}");
    Ok(())
}

fn main() -> Result<(), taskwright::Error> {
    simulate(1, async |sim| {
        let app = App::new().task::<Report>().task::<Sweep>().task::<ReadMeter>().schedule(meters()?);
        let kit = Kit::of(app).start(&sim).await?;
        kit.drain().await?; // registers them
        let now = sim.env().now();
        for view in kit.client().schedules().list(None).await? {
            let next: Vec<_> = view
                .upcoming(now, 3, &CustomTriggers::default())
                .into_iter()
                .map(|(due, _)| due.to_string())
                .collect();
            println!("{}: {}", view.schedule.name, next.join(", "));
        }

        println!("after three days without anybody");
        sim.advance(Duration::from_secs(3 * 24 * 3_600)).await;
        let ran = kit.drain().await?;
        assert_eq!(ran.completed, 5, "the newest report, the newest sweep, and three meters");
        Ok(())
    })
}

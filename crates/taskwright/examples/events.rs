//! Events: the program says what happened, and schedules that wait for it make jobs of it, with what the event carries. An event may be
//! told in a transaction, too: `client.emit_in(..)`.
//!
//! `cargo run -p taskwright --example events`

use taskwright::testing::{Kit, simulate};
use taskwright::{App, Event, Schedule, Trigger, task};

#[task("order.check")]
async fn check(order: u64, total: f64) {
    println!("order {order} is large: {total}");
}

/// A topic, in which `*` stands for anything, and conditions about the payload.
fn large_orders() -> Result<Schedule, taskwright::core::Error> {
    Schedule::builder("large-orders".parse()?, "order.check".parse()?)
        .trigger(Trigger::read("event", "order.* where total > 100", None)?)
        .args(serde_json::json!({"order": "{event.payload.order}", "total": "{event.payload.total}"}))
        .build()
}

fn main() -> Result<(), taskwright::Error> {
    simulate(1, async |sim| {
        let kit = Kit::of(App::new().task::<Check>().schedule(large_orders()?)).start(&sim).await?;
        // Registers the schedule: what was told before is not for it.
        kit.drain().await?;

        for (topic, order, total) in
            [("order.created", 1, 19.5), ("order.created", 2, 250.0), ("invoice.paid", 3, 999.0)]
        {
            let payload = serde_json::json!({"order": order, "total": total});
            kit.client().emit(Event::new(topic).key(format!("order {order}")).payload(&payload)?).await?;
        }
        let ran = kit.drain().await?;
        assert_eq!(ran.completed, 1, "one of the three is about an order, and large");
        Ok(())
    })
}

//! The work that is not done while a customer waits.

use std::path::PathBuf;

use taskwright::{Context, TaskError, Timestamp, task};

use crate::mail::Outbox;
use crate::orders::{NewOrder, Shop};

/// Who reads the report.
const OFFICE: &str = "office@shop.example";

/// Mails the customer, and has the invoice made once that is done.
#[task("order.confirm", queue = "mail", max_attempts = 8, timeout = "1m", derive(Debug))]
pub async fn confirm(
    order: i64,
    ctx: &Context,
    #[state] shop: &Shop,
    #[state] outbox: &Outbox,
) -> Result<(), TaskError> {
    let Some(order) = shop.order(order).map_err(TaskError::retry)? else {
        return Err(TaskError::permanent(format!("there is no order {order}")));
    };
    let text = format!("Thank you for your order {}: {}.", order.number, euros(order.order.cents()));
    // The name is the job's: an attempt after this one sends no second mail.
    outbox.send(&ctx.job_id().to_string(), &order.order.customer, "Your order", &text)?;
    ctx.then(&Invoice {
        number: order.number,
        order: order.order,
        directory: shop.directory().join("invoices"),
    })?;
    Ok(())
}

/// Writes the invoice. It runs in a process of its own: whatever a library for documents does there, it does to no other job.
#[task("invoice.make", process, timeout = "30s", derive(Debug, PartialEq))]
pub async fn invoice(number: i64, order: NewOrder, directory: PathBuf) -> Result<PathBuf, TaskError> {
    let path = directory.join(format!("{number}.pdf"));
    crate::write_whole(&path, &crate::invoice::pdf(number, &order))?;
    Ok(path)
}

/// Tells the office each night what was ordered since the night before, and the first time what was before.
///
/// From when until when is said by its schedule, and stored with the job: run late, or once more, it tells of the same orders.
#[task(
    "report.nightly",
    schedule(cron = "0 3 * * *", args = r#"{"since": "{previous_due}", "until": "{due}"}"#)
)]
pub async fn report(
    since: Option<Timestamp>,
    until: Timestamp,
    ctx: &Context,
    #[state] shop: &Shop,
    #[state] outbox: &Outbox,
) -> Result<(), TaskError> {
    let (orders, cents) = shop.taken(since.unwrap_or(Timestamp::from_micros(0)), until)?;
    let text = format!("{orders} orders, {}", euros(u64::try_from(cents)?));
    Ok(outbox.send(&ctx.job_id().to_string(), OFFICE, "Orders of the day", &text)?)
}

/// Cents as people read them.
pub(crate) fn euros(cents: u64) -> String {
    format!("{}.{:02} EUR", cents / 100, cents % 100)
}

//! Unique keys: what is asked for twice is done once. A job holds its key until it is started, or until it is over; whoever comes with
//! the same key meanwhile is given that job.
//!
//! `cargo run -p taskwright --example unique_keys`

use taskwright::{App, Job, TaskError, UniqueKey, UniqueScope, task};

/// One job of each invoice waits at a time, whatever else its arguments say.
#[task("invoice.send", unique(invoice))]
async fn send_invoice(invoice: u64, urgent: bool) -> Result<(), TaskError> {
    Err(TaskError::retry(format!("no answer about {invoice}, urgent or not ({urgent})")))
}

/// One at a time, from its enqueue to its end.
#[task("stock.count", unique_active)]
async fn count() -> Result<(), TaskError> {
    Err(TaskError::retry("the scanner is off"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = App::new().store("memory:").task::<SendInvoice>().task::<Count>();
    let client = app.client().await?;

    let first = client.enqueue(SendInvoice { invoice: 1, urgent: false }).await?;
    let again = client.enqueue(SendInvoice { invoice: 1, urgent: true }).await?;
    let other = client.enqueue(SendInvoice { invoice: 2, urgent: true }).await?;
    println!(
        "the invoice 1 again: existing = {}, the invoice 2: existing = {}",
        again.existing, other.existing
    );
    assert!(again.existing && again.id == first.id && !other.existing);

    // Each runs once, fails, and waits for its back-off.
    let counted = client.enqueue(Count {}).await?;
    assert_eq!(app.run_until_empty().await?.retried, 3);
    let started = client.enqueue(SendInvoice { invoice: 1, urgent: true }).await?;
    let not_over = client.enqueue(Count {}).await?;
    println!("after the first attempt: sending = {}, counting = {}", started.existing, not_over.existing);
    assert!(!started.existing && not_over.existing && not_over.id == counted.id);

    // A job of any kind may bring a key of its own.
    let key = UniqueKey::new("customer 12")?.with_scope(UniqueScope::Active);
    let job = || Job::new("crm.sync").unique(key.clone());
    assert_eq!(client.enqueue(job()).await?.id, client.enqueue(job()).await?.id);
    Ok(())
}

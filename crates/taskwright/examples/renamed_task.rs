//! A task that was renamed, and whose arguments have changed: jobs that an older program stored are still run.
//!
//! `cargo run -p taskwright --example renamed_task`

use serde_json::{Value, json};
use taskwright::{App, Job, TaskError, task};

/// It was `mail.hello` once, and version 1 of its arguments had `name`.
#[task("email.welcome", aliases("mail.hello"), version = 2, upgrade = upgrade_welcome)]
async fn welcome(first: String, last: String) -> Result<String, TaskError> {
    Ok(format!("Welcome, {first} of the house {last}"))
}

/// Makes arguments of the version `from` ones of the next.
fn upgrade_welcome(_from: u32, args: Value) -> Result<Value, TaskError> {
    let name = args["name"].as_str().ok_or_else(|| TaskError::permanent("there is no name"))?;
    let (first, last) = name.split_once(' ').unwrap_or((name, ""));
    Ok(json!({"first": first, "last": last}))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = App::new().store("memory:").task::<Welcome>();
    let client = app.client().await?;
    // As the older program did.
    let old = client.enqueue(Job::new("mail.hello").args(&json!({"name": "Ada Lovelace"}))?).await?;
    let new = client.enqueue(Welcome { first: "Grace".to_owned(), last: "Hopper".to_owned() }).await?;
    app.run_until_empty().await?;

    let (old, new): (String, String) = (old.result().await?, new.output().await?);
    println!("{old}\n{new}");
    assert_eq!(old, "Welcome, Ada of the house Lovelace");
    Ok(())
}

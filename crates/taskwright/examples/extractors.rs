//! What a handler takes besides its arguments: values that the app shares, and whatever your own types make of the context.
//!
//! `cargo run -p taskwright --example extractors`

use std::collections::BTreeMap;

use taskwright::{App, Context, FromContext, Job, TaskError, task};

/// Shared by all handlers, which find it by its type.
struct Sender(&'static str);

/// The same, but made when a worker starts: a pool of connections, or what is read from a file.
struct Greetings(BTreeMap<&'static str, &'static str>);

async fn greetings() -> Result<Greetings, std::io::Error> {
    Ok(Greetings(BTreeMap::from([("de", "Willkommen"), ("en", "Welcome")])))
}

/// Made for each attempt: the language of whoever the job belongs to.
struct Language(String);

impl FromContext for Language {
    async fn from_context(ctx: &Context) -> Result<Self, TaskError> {
        let owner = ctx.owner().ok_or_else(|| TaskError::permanent("the job is nobody's"))?;
        Ok(Self(if owner.as_str().ends_with(".de") { "de" } else { "en" }.to_owned()))
    }
}

#[task("email.welcome")]
async fn welcome(
    name: String,
    #[state] sender: &Sender,
    #[state] greetings: &Greetings,
    #[from] Language(language): Language,
    ctx: &Context,
) -> Result<String, TaskError> {
    let greeting = greetings.0.get(language.as_str()).ok_or_else(|| TaskError::permanent("no greeting"))?;
    Ok(format!("{greeting}, {name}, says {} at attempt {}", sender.0, ctx.attempt()))
}

#[tokio::main]
async fn main() -> Result<(), taskwright::Error> {
    let app = App::new().store("memory:").state(Sender("the shop")).state_from(greetings).task::<Welcome>();
    let client = app.client().await?;
    let job = || Job::of(&Welcome { name: "Ada".to_owned() });
    let german = client.enqueue(job().owner("ada@example.de")).await?;
    let english = client.enqueue(job().owner("ada@example.org")).await?;
    let nobodys = client.enqueue(job()).await?;
    app.run_until_empty().await?;

    for job in [&german, &english] {
        println!("{}", job.result::<String>().await?);
    }
    let refused = nobodys.result::<String>().await.expect_err("it has no owner");
    println!("{refused}");
    assert_eq!(german.result::<String>().await?, "Willkommen, Ada, says the shop at attempt 1");
    Ok(())
}

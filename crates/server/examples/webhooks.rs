//! Webhooks: a receiver is told of what happens, here of every job that has completed, and knows by the signature who tells.
//!
//! `cargo run -p taskwright-server --example webhooks`

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use taskwright::core::webhook::{Endpoint, Secret, Topics};
use taskwright::webhook::WebhookFamily;
use taskwright::{App, Client, Namespace, TaskError, task};
use taskwright_server::HttpCourier;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

type Error = Box<dyn std::error::Error>;

#[task("order.confirm")]
async fn confirm(order: u64) -> Result<String, TaskError> {
    Ok(format!("order {order} is confirmed"))
}

/// What the receiver has: the secret that it was given, and what to do with a message.
#[derive(Clone)]
struct Receiver {
    secret: Secret,
    received: mpsc::UnboundedSender<serde_json::Value>,
}

/// As <https://www.standardwebhooks.com> says; there are libraries for it in most languages.
async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let sent_at: u64 = header("webhook-timestamp").parse().unwrap_or(0);
    let ours = receiver.secret.sign(header("webhook-id"), sent_at, &body);
    // While a secret is replaced there are two signatures. A receiver also refuses what is older than five minutes.
    if !header("webhook-signature").split(' ').any(|theirs| theirs == ours) {
        return StatusCode::UNAUTHORIZED;
    }
    let Ok(message) = serde_json::from_slice(&body) else { return StatusCode::BAD_REQUEST };
    // Nobody listens any more when the program ends.
    let _ = receiver.received.send(message);
    StatusCode::NO_CONTENT
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    // `up` delivers by itself; a program that runs its own workers says so.
    let courier = HttpCourier::new()?;
    let app = App::new().store(directory.path().join("jobs.db")).task::<Confirm>().generators(
        move |set, store, env| {
            set.with_family(WebhookFamily::new(store.clone(), env.clone(), courier.clone()))
        },
    );
    let client = app.client().await?;
    let secret = client.webhooks().secret()?;
    let (received, messages) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    let router =
        Router::new().route("/hook", post(receive)).with_state(Receiver { secret: secret.clone(), received });

    let endpoint = Endpoint {
        topics: Topics(vec!["job.completed".parse()?]),
        allow_private: true, // it is on this machine
        ..Endpoint::new(url, secret)
    };
    client.webhooks().add(&Namespace::default(), &"erp".parse()?, &endpoint).await?;

    app.run_while(async {
        tokio::select! {
            served = axum::serve(listener, router).into_future() => served.map_err(Error::from),
            shown = show(&client, messages) => shown,
        }
    })
    .await
}

async fn show(
    client: &Client,
    mut messages: mpsc::UnboundedReceiver<serde_json::Value>,
) -> Result<(), Error> {
    let job = client.enqueue(Confirm { order: 7 }).await?;
    let message = messages.recv().await.ok_or("the receiver is gone")?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    println!("told of {}: {}", text(&message["type"]), text(&message["data"]["kind"]));
    assert_eq!(message["data"]["job"], job.id.to_string());
    Ok(())
}

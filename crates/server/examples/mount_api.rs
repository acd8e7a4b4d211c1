//! The HTTP API beside the pages of a program that has a server of its own, in axum. Whoever asks it needs a token.
//!
//! `cargo run -p taskwright-server --example mount_api`

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use axum::Router;
use axum::routing::get;
use taskwright::{App, Client, Env, TaskError, task};
use taskwright_server::Mount;
use tokio::net::TcpListener;
use tokio::sync::watch;

type Error = Box<dyn std::error::Error>;

#[task("sum")]
async fn sum(numbers: Vec<u64>) -> Result<u64, TaskError> {
    Ok(numbers.iter().sum())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    let app = App::new().store(directory.path().join("jobs.db")).task::<Sum>();
    let client = app.client().await?;
    let (stop, stopped) = watch::channel(false);

    let api = Mount::new(client.store().clone(), Env::system()).app(app.clone()).until(told(stopped.clone()));
    let pages = Router::new().route("/", get(|| async { "a shop" })).merge(api.router());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = pages.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(told(stopped));

    let asked = async {
        let answer = show(&client, &app, address).await;
        stop.send_replace(true);
        answer
    };
    let (served, asked) = tokio::join!(server.into_future(), asked);
    served?;
    asked
}

async fn told(mut stopped: watch::Receiver<bool>) {
    // An error is the end of whoever would have told.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn show(client: &Client, app: &App, address: SocketAddr) -> Result<(), Error> {
    // The first token is a superuser's, and its secret is told here and nowhere else.
    let token = client.identities().bootstrap().await?.ok_or("there is a token already")?.secret.reveal();

    let page = ask(address, "GET / HTTP/1.1", "", "").await?;
    println!("/: {}", page.lines().last().unwrap_or_default());
    assert!(page.ends_with("a shop"));

    let sum = r#"{"kind": "sum", "args": {"numbers": [1, 2, 3]}}"#;
    let refused = ask(address, "POST /api/v1/jobs HTTP/1.1", "", sum).await?;
    println!("without a token: {}", refused.lines().next().unwrap_or_default());
    assert!(refused.starts_with("HTTP/1.1 401"));

    let bearer = format!("authorization: Bearer {token}\r\n");
    let stored = ask(address, "POST /api/v1/jobs HTTP/1.1", &bearer, sum).await?;
    println!("with a token: {}", stored.lines().next().unwrap_or_default());
    assert!(stored.starts_with("HTTP/1.1 201"));

    assert_eq!(app.run_until_empty().await?.completed, 1);
    Ok(())
}

/// Any client does; this needs none.
async fn ask(address: SocketAddr, what: &str, headers: &str, body: &str) -> std::io::Result<String> {
    let length = body.len();
    let request = format!(
        "{what}\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    let answer = move || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    Env::system().blocking(answer).await
}

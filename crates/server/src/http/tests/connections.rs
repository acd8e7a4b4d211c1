//! Real connections: those that send slowly or nothing, too much, or do not read are got rid of, and the end is an end.

use std::net::SocketAddr;
use std::time::Duration;

use taskwright::Env;
use taskwright_store::memory::MemoryStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::local_user;
use super::made;
use crate::config::Listen;
use crate::http::server::{Running, Server};
use crate::http::state::Limits;

async fn serve(limits: Limits) -> (Running, SocketAddr) {
    let server = Server::bind("127.0.0.1:0".parse::<Listen>().unwrap()).await.unwrap().unwrap();
    let address = server.url().strip_prefix("http://").unwrap().parse().unwrap();
    let user = local_user(&"me".parse().unwrap());
    (server.run(made(&MemoryStore::new(), &Env::system(), user, limits)), address)
}

fn hasty() -> Limits {
    let soon = Duration::from_millis(200);
    Limits { head_time: soon, body_time: soon, unread_time: soon, ..Limits::default() }
}

/// Sends something, and reads until the other end closes.
async fn say(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // However it ends, it ends.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_request_is_answered_over_a_connection_that_is_kept() {
    let (running, address) = serve(Limits::default()).await;
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = say(address, &format!("{request}{request}{last}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    running.close().await;
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let (running, address) = serve(hasty()).await;
    for begun in ["", "GET /healthz HTTP/1.1\r\n", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: "] {
        let answer = say(address, begun).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    running.close().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (running, address) = serve(hasty()).await;
    let begun = "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let answer = say(address, begun).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("urn:taskwright:problem:slow-request"), "{answer}");
    running.close().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (running, address) = serve(Limits::default()).await;
    let large = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: {}\r\n\r\n", "x".repeat(300 << 10));
    let answer = say(address, &large).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    running.close().await;
}

#[tokio::test]
async fn there_are_no_more_connections_than_may_be_and_a_closed_one_makes_room() {
    let (running, address) = serve(Limits { connections_max: 1, ..Limits::default() }).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut second = std::pin::pin!(say(address, request));
    assert!(super::is_pending(second.as_mut()));
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200"));
    running.close().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_what_to_do() {
    let (running, address) = serve(Limits::default()).await;
    let error = Server::bind(Listen::At(address)).await.err().unwrap().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("listens there already"), "{error}");
    assert!(error.contains("--listen 127.0.0.1:0"), "{error}");
    running.close().await;
}

#[tokio::test]
async fn the_end_is_told_to_streams_and_nobody_is_let_in_after_it() {
    let (running, address) = serve(Limits::default()).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    running.drain().await;
    // Until it is closed it says why it takes nothing in.
    let refused = "POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let answer = say(address, refused).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: "), "{answer}");
    running.close().await;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("event: end"), "{rest}");
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

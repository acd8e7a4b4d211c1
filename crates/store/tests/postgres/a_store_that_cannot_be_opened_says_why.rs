//! Whoever opens a store that cannot be opened learns why, and what to do; never a secret.

use std::os::unix::net::UnixListener;

use taskwright_core::Timestamp;
use taskwright_store::Error;
use taskwright_store::postgres::{self, Connections, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::{Cluster, PASSWORD_GROUP};

async fn refusal(url: &str) -> Error {
    let error = Connections::open(Settings::parse(url).unwrap()).await.unwrap_err();
    assert!(error.what().starts_with("open the store postgres://"), "{error}");
    assert!(!error.fix().is_empty());
    assert!(!error.fix().contains("bug"), "{error}");
    error
}

#[tokio::test]
async fn a_database_that_is_not_there() {
    let database = Cluster::shared().database();
    let error = refusal(&database.url().replace(database.name(), "no_such")).await;
    assert!(error.why().contains("no_such") && error.fix().contains("createdb"), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn a_role_that_is_not_there() {
    let database = Cluster::shared().database();
    let error = refusal(&database.url_of("nobody_here")).await;
    assert!(error.why().contains("nobody_here") && error.fix().contains("pg_hba.conf"), "{error}");
}

#[tokio::test]
async fn a_password_that_is_wrong_or_missing() {
    let database = Cluster::shared().database();
    let role = database.role("user", &format!("PASSWORD 'hunter3' IN ROLE {PASSWORD_GROUP}"));
    let error = refusal(&database.url_of(&format!("{role}:hunter2"))).await;
    assert!(error.why().contains("password") && !error.is_transient(), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let error = refusal(&database.url_of(&role)).await;
    assert!(error.why().contains("password") && error.fix().contains("URL"), "{error}");
    let right = Settings::parse(&database.url_of(&format!("{role}:hunter3"))).unwrap();
    let connections = Connections::open(right).await.unwrap();
    let shown = format!("{connections:?}");
    assert!(!shown.contains("hunter"), "{shown}");
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let error = refusal(&format!("postgres:///db?host={}", directory.path().display())).await;
    assert!(error.why().contains("no server answers") && !error.is_transient(), "{error}");
}

/// A message of the server, as its protocol has them.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind], length.as_slice(), body].concat()
}

/// Stopped, or on a machine that hangs, after it has let us in.
#[tokio::test]
async fn a_server_that_lets_us_in_and_says_nothing_more() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mute = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = [0; 1_024];
        assert!(socket.read(&mut asked).await.unwrap() > 0);
        let is_ready = message(b'Z', b"I");
        socket.write_all(&[message(b'R', &[0; 4]), is_ready.clone()].concat()).await.unwrap();
        // Whether it can be written is still asked by the driver.
        assert!(socket.read(&mut asked).await.unwrap() > 0);
        let column =
            [b"\0\x01transaction_read_only\0".as_slice(), &[0; 6], &[0, 0, 0, 25], &[255; 6], &[0; 2]]
                .concat();
        let answer = [
            message(b'T', &column),
            message(b'D', b"\0\x01\0\0\0\x03off"),
            message(b'C', b"SHOW\0"),
            is_ready,
        ];
        socket.write_all(&answer.concat()).await.unwrap();
        std::future::pending::<std::convert::Infallible>().await
    };
    let url = format!("postgres://user@127.0.0.1:{port}/db?sslmode=disable");
    let error = tokio::select! {
        never = mute => match never {},
        error = refusal(&url) => error,
    };
    assert!(error.why().contains("lets us in") && error.is_unreachable(), "{error}");
}

#[tokio::test]
async fn a_host_whose_name_is_not_known() {
    let error = refusal("postgres://user@no-such-host.invalid/db?sslmode=disable").await;
    assert!(error.why().contains("name of the host") && error.fix().contains("getent"), "{error}");
    assert!(error.is_unreachable());
}

#[tokio::test]
async fn a_schema_that_is_not_there_and_may_not_be_made() {
    let database = Cluster::shared().database();
    let role = database.role("user", "");
    let settings = Settings::parse(&format!("{}?schema=mistyped", database.url_of(&role))).unwrap();
    let connections = Connections::open(settings).await.unwrap();
    let error = postgres::migrate(&connections, Timestamp::from_micros(0)).await.unwrap_err();
    assert!(error.why().contains("no such schema"), "{error}");
    assert!(
        error.fix().contains("`schema`") && error.fix().contains("GRANT CREATE ON DATABASE"),
        "{}",
        error.fix()
    );
}

#[tokio::test]
async fn a_server_that_hangs_up() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
    let hanging_up = std::thread::spawn(move || drop(listener.accept()));
    let error = refusal(&format!("postgres:///db?host={}", directory.path().display())).await;
    assert!(error.why().contains("no server answers"), "{error}");
    hanging_up.join().unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text() {
    let options = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    let database = Cluster::shared().database_by(options);
    let error = refusal(&database.url()).await;
    assert!(error.why().contains("LATIN1") && error.fix().contains("UTF8"), "{error}");
}

#[tokio::test]
async fn a_server_that_takes_no_writes() {
    let database = Cluster::shared().database();
    database.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name()));
    let error = refusal(&database.url()).await;
    assert!(error.is_read_only() && error.fix().contains("primary"), "{error}");
}

#[tokio::test]
async fn a_server_without_a_free_connection() {
    let database = Cluster::shared().database();
    let role = database.role("user", "CONNECTION LIMIT 1");
    let settings = Settings::parse(&database.url_of(&role)).unwrap();
    let connections = Connections::open(settings.clone()).await.unwrap();
    let _held = connections.get().await.unwrap();
    let error = refusal(&database.url_of(&role)).await;
    assert!(error.is_busy() && error.fix().contains("pool"), "{error}");
    assert!(connections.get().await.err().unwrap().is_busy());
}

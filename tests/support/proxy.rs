//! Stands between a client and PostgreSQL, and loses what a network loses: the answer to what was committed.
//!
//! It understands as much of the protocol as that needs (the server's documentation, "Message Formats"): a message of the
//! server is a byte for its kind, a length of four bytes that counts itself, and its content. The answer to one request
//! ends with `Z` (ready for the next), which says whether a transaction is open; `C` before that says that a statement was
//! executed, and `2` that it had parameters. An answer with `C` that ends outside a transaction is the one that says: committed.
//!
//! Only sessions that do the store's work are meddled with. Those for hints and for presence are passed on as they are.
//! Like `cluster.rs` this is for the tests of any crate, and uses only the standard library.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// What the start of a session that does the store's work has in its options, and no other has.
const WORKING_SESSION: &[u8] = b"enable_seqscan";

/// A proxy on a port of its own on loopback; its sessions are cut when the value is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// The server's socket.
    server: PathBuf,
    /// How many more answers that say "committed" are to be lost.
    to_lose: AtomicU32,
    /// And how many are passed on before.
    to_pass: AtomicU32,
    lost: AtomicU32,
    sessions: Mutex<Vec<(TcpStream, UnixStream)>>,
}

impl Proxy {
    /// Starts before the server that listens on this socket.
    pub fn before(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: socket.to_owned(),
            to_lose: AtomicU32::new(0),
            to_pass: AtomicU32::new(0),
            lost: AtomicU32::new(0),
            sessions: Mutex::default(),
        });
        let serving = shared.clone();
        // Ends with the test's process, like every thread here.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = serving.clone();
                std::thread::spawn(move || serve(&shared, client));
            }
        });
        Self { port, shared }
    }

    /// The URL of a database by way of this proxy.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Loses the answers to the next so many transactions that commit, and cuts each one's connection instead.
    pub fn lose(&self, answers: u32) {
        self.lose_behind(0, answers);
    }

    /// As [`lose`](Self::lose), once so many answers have been passed on: of statements that only look, say.
    pub fn lose_behind(&self, passed: u32, answers: u32) {
        self.shared.to_pass.store(passed, Ordering::SeqCst);
        self.shared.to_lose.store(answers, Ordering::SeqCst);
    }

    /// How many answers were lost so far.
    pub fn lost(&self) -> u32 {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// Cuts every connection. What the server is doing for them it goes on with, until it wants to answer.
    pub fn cut_all(&self) {
        self.shared.sessions.lock().unwrap().drain(..).for_each(|(client, server)| cut(&client, &server));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut_all();
    }
}

fn cut(client: &TcpStream, server: &UnixStream) {
    // One that has ended already needs no end.
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

fn serve(shared: &Shared, mut client: TcpStream) {
    // A server that is away is a connection that ends at once.
    let Ok(mut server) = UnixStream::connect(&shared.server) else { return };
    let _ = client.set_nodelay(true);
    let (to_cut, from_server) = ((client.try_clone(), server.try_clone()), server.try_clone());
    let ((Ok(cut_client), Ok(cut_server)), Ok(from_server)) = (to_cut, from_server) else { return };
    let Ok(to_client) = client.try_clone() else { return };
    shared.sessions.lock().unwrap().push((cut_client, cut_server));
    let Ok(start) = read_start(&mut client) else { return cut(&client, &server) };
    let works = start.windows(WORKING_SESSION.len()).any(|part| part == WORKING_SESSION);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = match works {
                true => answer(shared, &from_server, &to_client),
                false => io::copy(&mut &from_server, &mut &to_client).map(drop),
            };
            cut(&to_client, &from_server);
        });
        let _ = server.write_all(&start).and_then(|()| io::copy(&mut client, &mut server));
        cut(&client, &server);
    });
}

/// The first message of a client: its length, which counts itself, and its content.
fn read_start(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 4];
    client.read_exact(&mut message)?;
    let length = u32::from_be_bytes([message[0], message[1], message[2], message[3]]) as usize;
    message.resize(length.max(4), 0);
    client.read_exact(&mut message[4..])?;
    Ok(message)
}

/// Passes answers on, whole, until one of them is lost.
fn answer(shared: &Shared, mut server: &UnixStream, mut client: &TcpStream) -> io::Result<()> {
    let (mut answer, mut bound, mut executed) = (Vec::new(), false, false);
    loop {
        let mut head = [0; 5];
        if let Err(error) = server.read_exact(&mut head) {
            // Its last words, without an end.
            client.write_all(&answer)?;
            return Err(error);
        }
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut content = vec![0; length.saturating_sub(4)];
        server.read_exact(&mut content)?;
        answer.extend_from_slice(&head);
        answer.extend_from_slice(&content);
        match head[0] {
            b'2' => bound = true,
            // What has no parameters and is no end of a transaction is a session's beginning, or tells others of something.
            b'C' => executed |= bound || content.starts_with(b"COMMIT"),
            // The client is to go on: with a password, or the data of a COPY.
            b'R' | b'G' => client.write_all(&std::mem::take(&mut answer))?,
            b'Z' => {
                if executed && content == b"I" && shared.loses_one() {
                    return Ok(());
                }
                client.write_all(&std::mem::take(&mut answer))?;
                (bound, executed) = (false, false);
            }
            _ => {}
        }
    }
}

impl Shared {
    /// Whether this answer is to be lost.
    fn loses_one(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        if self.to_lose.load(Ordering::SeqCst) > 0
            && self.to_pass.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
        {
            return false;
        }
        let loses = self.to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        if loses {
            self.lost.fetch_add(1, Ordering::SeqCst);
        }
        loses
    }
}

//! A connection to the server of a benchmark. It does as little as a client can, since it shares the machine with the server.

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::server::ServerProcess;
use crate::error::{Error, in_words};

/// One that is kept alive.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    /// What every request says besides.
    head: String,
    line: String,
}

/// What the server said.
pub(super) struct Answer {
    status: u16,
    body: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(server: &ServerProcess) -> Result<Self, Error> {
        Self::open_as(server, server.token()).await
    }

    /// One of whoever has this token.
    pub(super) async fn open_as(server: &ServerProcess, token: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(server.address()).await.map_err(|error| broke(&error))?;
        stream.set_nodelay(true).map_err(|error| broke(&error))?;
        let head = format!(
            "Host: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n",
            server.address(),
            token
        );
        Ok(Self { stream: BufReader::new(stream), head, line: String::new() })
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer, Error> {
        self.say(method, path, body).await?;
        let (status, length) = self.head().await?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.map_err(|error| broke(&error))?;
        Ok(Answer { status, body })
    }

    /// Whether the server has left it open, when nothing is to be read.
    pub(super) fn is_open(&self) -> bool {
        let read = self.stream.get_ref().try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Begins to listen to a stream.
    pub(super) async fn listen(&mut self, path: &str) -> Result<(), Error> {
        self.say("GET", path, &[]).await?;
        let (status, _) = self.head().await?;
        Answer { status, body: Vec::new() }.is(200).map(drop)
    }

    /// Reads on in a stream until an event of this name was read; `false` at its end.
    pub(super) async fn heard(&mut self, event: &str) -> bool {
        loop {
            self.line.clear();
            match self.stream.read_line(&mut self.line).await {
                Ok(1..) if self.line.strip_prefix("event: ").is_some_and(|name| name.trim_end() == event) => {
                    return true;
                }
                Ok(1..) => {}
                Ok(0) | Err(_) => return false,
            }
        }
    }

    async fn say(&mut self, method: &str, path: &str, body: &[u8]) -> Result<(), Error> {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\n{}Content-Length: {}\r\n\r\n", self.head, body.len())
                .into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request).await.map_err(|error| broke(&error))
    }

    /// Reads the head of an answer: its status, and how long its body is.
    async fn head(&mut self) -> Result<(u16, usize), Error> {
        let (mut status, mut length) = (0, 0);
        loop {
            self.line.clear();
            if self.stream.read_line(&mut self.line).await.map_err(|error| broke(&error))? == 0 {
                return Err(broke(&std::io::ErrorKind::UnexpectedEof.into()));
            }
            let line = self.line.trim_end();
            if status == 0 {
                status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(1);
            } else if line.is_empty() {
                return Ok((status, length));
            } else if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse().unwrap_or(0);
            }
        }
    }
}

impl Answer {
    /// The same, if it has this status.
    pub(super) fn is(self, status: u16) -> Result<Self, Error> {
        if self.status == status {
            return Ok(self);
        }
        let why = format!("it answered {}: {}", self.status, String::from_utf8_lossy(&self.body));
        Err(Error::operational(
            "the server of the benchmark",
            why,
            "this is a bug in taskwright: please report it",
        ))
    }

    /// Whether it was refused because there were too many.
    pub(super) fn is_refused(&self) -> bool {
        self.status == 429
    }

    /// Whether this stands in it.
    pub(super) fn says(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(text)
    }

    /// Where a listing goes on.
    pub(super) fn next_cursor(&self) -> Result<Option<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            next: Option<String>,
        }
        Ok(self.json::<Page>()?.next)
    }

    /// The id of what was made.
    pub(super) fn id(&self) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Made {
            id: String,
        }
        Ok(self.json::<Made>()?.id)
    }

    fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let fix = "this is a bug in taskwright: please report it";
            Error::operational("an answer of the server of the benchmark", error.to_string(), fix)
        })
    }
}

fn broke(error: &std::io::Error) -> Error {
    let fix = "look at `ulimit -n`, which both processes need more of than there are connections";
    Error::operational("a connection to the server of the benchmark", in_words(error), fix)
}

//! A caller of the HTTP API.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// What a caller speaks over.
pub(crate) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

type Connection = BufReader<Box<dyn Wire>>;

/// A client that believes what it is told, and tries nothing twice: whatever goes wrong is an error.
pub(crate) struct Caller {
    address: String,
    keeps: bool,
    /// Who it is.
    token: Option<String>,
    /// Whom it believes, if it speaks TLS.
    tls: Option<Arc<ClientConfig>>,
    pub(crate) connection: Option<Connection>,
}

impl Caller {
    pub(crate) fn new(address: &str, keeps: bool) -> Self {
        Self { address: address.to_owned(), keeps, token: None, tls: None, connection: None }
    }

    /// The same, who says who it is by this token.
    pub(crate) fn bearing(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// The same, over TLS, if it has anybody to believe.
    pub(crate) fn believing(self, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls, ..self }
    }

    /// Asks, and gives status and body.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
        let words = |error: io::Error| format!("{method} {path}: {error}");
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().map_err(words)?,
        };
        let (kind, length) = ("Content-Type: application/json", body.len());
        let more = format!("{kind}\r\nContent-Length: {length}\r\n");
        self.send(&mut connection, method, path, &more, body).map_err(words)?;
        let head = Head::read(&mut connection).map_err(words)?;
        let mut body = vec![0; head.length];
        match head.is_chunked {
            true => Chunks::of(&mut connection).read_to_end(&mut body).map(drop),
            false => connection.read_exact(&mut body),
        }
        .map_err(words)?;
        if self.keeps && !head.closes {
            self.connection = Some(connection);
        }
        Ok((head.status, String::from_utf8(body).unwrap()))
    }

    /// Follows a stream of events, behind the one of this id if there is one.
    pub(crate) fn follow(&self, path: &str, last_id: Option<&str>) -> Result<Events, String> {
        let words = |error: io::Error| format!("GET {path}: {error}");
        let mut connection = self.connect().map_err(words)?;
        let behind = last_id.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        self.send(&mut connection, "GET", path, &behind, "").map_err(words)?;
        let head = Head::read(&mut connection).map_err(words)?;
        if head.status != 200 || !head.is_chunked {
            return Err(format!("GET {path}: {} is no stream", head.status));
        }
        Ok(Events(BufReader::new(Chunks::of(connection))))
    }

    fn connect(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let Some(config) = &self.tls else { return Ok(BufReader::new(Box::new(stream))) };
        let host = self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(BufReader::new(Box::new(StreamOwned::new(tls, stream))))
    }

    fn send(
        &self,
        connection: &mut Connection,
        method: &str,
        path: &str,
        more: &str,
        body: &str,
    ) -> io::Result<()> {
        let address = &self.address;
        let close = if self.keeps { "" } else { "Connection: close\r\n" };
        let token = self.token.as_ref();
        let who = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{who}{more}{close}\r\n{body}");
        connection.get_mut().write_all(request.as_bytes())?;
        connection.get_mut().flush()
    }
}

/// What an answer begins with.
#[derive(Default)]
struct Head {
    status: u16,
    length: usize,
    is_chunked: bool,
    closes: bool,
}

impl Head {
    fn read(connection: &mut Connection) -> io::Result<Self> {
        let mut head = Self::default();
        for number in 0.. {
            let mut line = String::new();
            if connection.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the connection ended before an answer"));
            }
            let line = line.trim_end().to_ascii_lowercase();
            if number == 0 {
                head.status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                head.length = value.parse().map_err(io::Error::other)?;
            } else if line == "transfer-encoding: chunked" {
                head.is_chunked = true;
            } else if line == "connection: close" {
                head.closes = true;
            } else if line.is_empty() {
                break;
            }
        }
        Ok(head)
    }
}

/// A body that comes in chunks (RFC 9112, 7.1).
struct Chunks<C> {
    connection: C,
    /// Bytes that are left of the chunk.
    left: usize,
    is_first: bool,
    is_over: bool,
}

impl<C: BufRead> Chunks<C> {
    fn of(connection: C) -> Self {
        Self { connection, left: 0, is_first: true, is_over: false }
    }
}

impl<C: BufRead> Read for Chunks<C> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.is_over {
            return Ok(0);
        }
        if self.left == 0 {
            let mut line = String::new();
            if !std::mem::replace(&mut self.is_first, false) {
                self.connection.read_line(&mut line)?;
                line.clear();
            }
            if self.connection.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the connection ended within a stream"));
            }
            self.left = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            if self.left == 0 {
                self.is_over = true;
                self.connection.read_line(&mut line)?;
                return Ok(0);
            }
        }
        let most = bytes.len().min(self.left);
        let read = self.connection.read(&mut bytes[..most])?;
        self.left -= read;
        match read {
            0 => Err(io::Error::other("the connection ended within a chunk")),
            read => Ok(read),
        }
    }
}

/// A stream of server-sent events.
pub(crate) struct Events(BufReader<Chunks<Connection>>);

/// One of them, and the id by which to go on behind it. What is no event to the reader, but says where it is, has no name.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

impl Events {
    /// The next one, or `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, String> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).map_err(|error| format!("a stream: {error}"))? == 0 {
                return Ok(None);
            }
            match line.trim_end().split_once(':') {
                Some(("event", name)) => event.name = name.trim_start().to_owned(),
                Some(("id", id)) => event.id = Some(id.trim_start().to_owned()),
                Some(("data", data)) => event.data = data.trim_start().to_owned(),
                Some(_) => {}
                None => return Ok(Some(event)),
            }
        }
    }
}

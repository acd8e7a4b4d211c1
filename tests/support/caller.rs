//! A caller of the HTTP API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A client that believes what it is told, and tries nothing twice: whatever goes wrong is an error.
pub(crate) struct Caller {
    address: String,
    keeps: bool,
    /// Who it is.
    token: Option<String>,
    pub(crate) connection: Option<BufReader<TcpStream>>,
}

impl Caller {
    pub(crate) fn new(address: &str, keeps: bool) -> Self {
        Self { address: address.to_owned(), keeps, token: None, connection: None }
    }

    /// The same, who says who it is by this token.
    pub(crate) fn bearing(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// Asks, and gives status and body.
    pub(crate) fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
        let words = |error: std::io::Error| format!("{method} {path}: {error}");
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(&self.address).map_err(words)?;
                stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(words)?;
                BufReader::new(stream)
            }
        };
        let (address, length) = (&self.address, body.len());
        let close = if self.keeps { "" } else { "Connection: close\r\n" };
        let token = self.token.as_ref();
        let who = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{who}Content-Type: application/json\r\nContent-Length: {length}\r\n{close}\r\n{body}"
        );
        connection.get_mut().write_all(request.as_bytes()).map_err(words)?;
        let (mut status, mut length, mut closes) = (0, 0, !self.keeps);
        for number in 0.. {
            let mut line = String::new();
            if connection.read_line(&mut line).map_err(words)? == 0 {
                return Err(format!("{method} {path}: the connection ended before an answer"));
            }
            let line = line.trim_end().to_ascii_lowercase();
            if number == 0 {
                status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            } else if line == "connection: close" {
                closes = true;
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).map_err(words)?;
        if !closes {
            self.connection = Some(connection);
        }
        Ok((status, String::from_utf8(body).unwrap()))
    }
}

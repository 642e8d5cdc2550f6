//! A plain HTTP/1.1 client that shows what is on the wire.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// A whole response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body without its transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The first value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a header field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let values = self.headers.iter().filter(|(key, _)| key == name);
        values.map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// Fails when nobody listens or what comes is not a whole response.
pub fn get(address: SocketAddr, target: &str) -> Result<Response> {
    request(address, "GET", target, &[], b"")
}

/// One request on a connection of its own. A `host` and a `content-length` are
/// added; header fields given here come after them.
///
/// # Errors
/// Fails when nobody listens or what comes is not a whole response.
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let mut connection = Connection::open(address)?;
    let length = body.len().to_string();
    let mut all = vec![("connection", "close")];
    if !body.is_empty() {
        all.push(("content-length", &length));
    }
    all.extend_from_slice(headers);
    connection.send_head(method, target, &all)?;
    connection.send(body)?;
    connection.response(method == "HEAD")
}

/// A connection under the test's control, for requests that come in pieces.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Connection {
    /// Opens a connection on which no read or write waits longer than a minute.
    ///
    /// # Errors
    /// Fails when nobody listens.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        stream.set_write_timeout(Some(Duration::from_mins(1)))?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    /// Sends request line and header; the body is up to the caller.
    ///
    /// # Errors
    /// Fails when the connection is gone.
    pub fn send_head(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<()> {
        let mut lines = vec![format!("{method} {target} HTTP/1.1")];
        if !headers.iter().any(|(name, _)| *name == "host") {
            lines.push(format!("host: {}", self.address));
        }
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
        self.send((lines.join("\r\n") + "\r\n\r\n").as_bytes())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Fails when the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// Sends one chunk of a chunked body; an empty one ends it.
    ///
    /// # Errors
    /// Fails when the connection is gone.
    pub fn send_chunk(&mut self, bytes: &[u8]) -> Result<()> {
        self.send(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        self.send(bytes)?;
        self.send(b"\r\n")
    }

    /// Reads status and header, with an empty body.
    ///
    /// # Errors
    /// Fails when the connection ends before the header does.
    pub fn head(&mut self) -> Result<Response> {
        let line = self.line()?;
        let mut words = line.split(' ');
        ensure!(words.next().is_some_and(|w| w.starts_with("HTTP/1.")), "not HTTP: {line:?}");
        let status = words.next().unwrap_or_default().parse().context("not a status")?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Response { status, headers, body: Vec::new() });
            }
            let (name, value) = line.split_once(':').context("not a header field")?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads one chunk of a chunked body; none after the last one.
    ///
    /// # Errors
    /// Fails when the connection ends before the body does.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16)
            .with_context(|| format!("not a chunk size: {line:?}"))?;
        let mut bytes = vec![0; size];
        self.stream.read_exact(&mut bytes)?;
        ensure!(self.line()?.is_empty(), "a chunk is longer than it says");
        Ok((size > 0).then_some(bytes))
    }

    /// Reads a whole response; `bodiless` is for answers to HEAD.
    ///
    /// # Errors
    /// Fails when the connection ends before the response does.
    pub fn response(&mut self, bodiless: bool) -> Result<Response> {
        let mut response = self.head()?;
        let bodiless = bodiless || matches!(response.status, 100..=199 | 204 | 304);
        if bodiless {
            return Ok(response);
        }
        if response.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk()? {
                response.body.extend(chunk);
            }
        } else if let Some(length) = response.header("content-length") {
            response.body = vec![0; length.parse().context("not a length")?];
            self.stream.read_exact(&mut response.body)?;
        } else {
            self.stream.read_to_end(&mut response.body)?;
        }
        Ok(response)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("the connection was closed");
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

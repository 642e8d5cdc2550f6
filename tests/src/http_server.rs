//! An HTTP/1.1 server that counts its connections, with or without TLS.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use test_servers::Authority;

/// A server on loopback, also as `localhost`; ends with the value.
///
/// | path | answer |
/// |---|---|
/// | `/ok` | 200 with `ok` |
/// | `/slow/MS` | the same after so many milliseconds |
/// | `/half/MS` | the first half of a body, the second one after so many milliseconds |
/// | `/close` | none: the connection is closed |
/// | `/nonsense` | something that is not HTTP |
#[derive(Debug)]
pub struct HttpServer {
    port: u16,
    connections: Arc<Connections>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Connections {
    made: AtomicUsize,
    /// Requests that wait for their answer.
    waiting: AtomicUsize,
    most: AtomicUsize,
}

impl HttpServer {
    /// A server without TLS.
    ///
    /// # Errors
    /// Fails when there is no port left.
    pub fn start() -> Result<Self> {
        Self::serve(None)
    }

    /// A server with TLS as `localhost`; `mutual`: it asks clients for a certificate
    /// of the same authority.
    ///
    /// # Errors
    /// Fails when there is no port left or the certificate is not to be had.
    pub fn with_tls(authority: &Authority, mutual: bool) -> Result<Self> {
        Self::serve(Some(Arc::new(tls(authority, mutual)?)))
    }

    fn serve(tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (connections, ended) = (Arc::<Connections>::default(), Arc::<AtomicBool>::default());
        let (counted, seen) = (Arc::clone(&connections), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (counted, tls) = (Arc::clone(&counted), tls.clone());
                // Ends with its connection, which is the client's.
                thread::spawn(move || {
                    counted.made.fetch_add(1, Ordering::SeqCst);
                    // A client that goes away in the middle is no failure of the server.
                    let _ = converse(stream, tls, &counted);
                });
            }
        });
        Ok(Self { port, connections, ended, thread: Some(thread) })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Connections that were made so far.
    pub fn connections(&self) -> usize {
        self.connections.made.load(Ordering::SeqCst)
    }

    /// The most requests that waited for their answers at a time.
    pub fn most_at_a_time(&self) -> usize {
        self.connections.most.load(Ordering::SeqCst)
    }
}

impl Connections {
    /// Lets a request wait.
    fn wait(&self, pause: Duration) {
        let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(waiting, Ordering::SeqCst);
        thread::sleep(pause);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread, which then ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn tls(authority: &Authority, mutual: bool) -> Result<ServerConfig> {
    let own = authority.issue(&["localhost"])?;
    let certificate = CertificateDer::from_pem_file(own.certificate)?;
    let key = PrivateKeyDer::from_pem_file(own.key)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = if mutual {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.certificate())?)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_client_cert_verifier(verifier.build()?)
    } else {
        builder.with_no_client_auth()
    };
    Ok(builder.with_single_cert(vec![certificate], key)?)
}

fn converse(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    connections: &Connections,
) -> Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        None => answer_all(stream, connections),
        Some(tls) => answer_all(StreamOwned::new(ServerConnection::new(tls)?, stream), connections),
    }
}

/// Answers requests until the client closes the connection.
fn answer_all(stream: impl Read + Write, connections: &Connections) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let target = head.split_whitespace().nth(1).unwrap_or_default();
        let (path, milliseconds) = target.rsplit_once('/').unwrap_or((target, ""));
        let pause = Duration::from_millis(milliseconds.parse().unwrap_or(0));
        let stream = stream.get_mut();
        match (path, target) {
            (_, "/close") => return Ok(()),
            (_, "/nonsense") => stream.write_all(b"nonsense\r\n\r\n")?,
            ("/half", _) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfi")?;
                stream.flush()?;
                thread::sleep(pause);
                stream.write_all(b"ne")?;
            }
            _ => {
                connections.wait(pause);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
            }
        }
        stream.flush()?;
    }
}

/// Gives everybody the same file, for as long as the process lives.
///
/// # Errors
/// Fails when no address is free.
pub fn serve_file(file: Vec<u8>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client?;
            let _length = client.read(&mut [0; 4096])?;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", file.len());
            client.write_all(&[head.as_bytes(), &file].concat())?;
        }
        std::io::Result::Ok(())
    });
    Ok(address)
}

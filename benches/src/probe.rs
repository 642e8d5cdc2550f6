//! Asking until there is an answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

/// Time between two attempts: small beside a start, rare enough not to disturb it.
const PAUSE: Duration = Duration::from_millis(1);
/// How long one answer may take once it is connected.
const ANSWER: Duration = Duration::from_secs(20);

/// A first answer with status 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) at: Instant,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// SHA-256 of the body.
    pub(crate) fn hash(&self) -> String {
        hex::encode(Sha256::digest(&self.body))
    }
}

/// Asks every address in turn until each has answered, `give_up` is set or the
/// deadline has passed. Answers are in the order of the addresses.
pub(crate) fn first_answers(
    addresses: &[SocketAddr],
    give_up: &AtomicBool,
    deadline: Instant,
) -> Vec<Option<Answer>> {
    let mut answers = vec![None; addresses.len()];
    while answers.iter().any(Option::is_none) {
        for (answer, address) in answers.iter_mut().zip(addresses) {
            if answer.is_none() {
                *answer = ask(*address);
            }
        }
        if give_up.load(Ordering::Relaxed) || Instant::now() > deadline {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    answers
}

/// One request; none unless the answer has status 200.
pub(crate) fn ask(address: SocketAddr) -> Option<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).ok()?;
    stream.set_read_timeout(Some(ANSWER)).ok()?;
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).ok()?;
    let at = Instant::now();
    if !response.starts_with(b"HTTP/1.1 200") {
        return None;
    }
    Some(Answer { at, body: body(&response) })
}

/// What follows the header; of a body in chunks, the chunks' contents.
fn body(response: &[u8]) -> Vec<u8> {
    let end = response.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(response.len());
    let (head, rest) = response.split_at(end);
    let rest = rest.get(4..).unwrap_or_default();
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") { chunks(rest) } else { rest.to_vec() }
}

fn chunks(mut text: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = text.windows(2).position(|two| two == b"\r\n") {
        let (line, rest) = text.split_at(end);
        let length = std::str::from_utf8(line).ok().and_then(|l| usize::from_str_radix(l, 16).ok());
        let Some(chunk) = length.and_then(|length| rest.get(2..2 + length)) else { break };
        if chunk.is_empty() {
            break;
        }
        body.extend_from_slice(chunk);
        text = rest.get(2 + chunk.len() + 2..).unwrap_or_default();
    }
    body
}

/// A loopback address that nobody listens on at the moment.
pub(crate) fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_the_same_whole_and_in_chunks() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        let parts =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
        assert_eq!(body(whole), b"hello");
        assert_eq!(body(parts), b"hello");
    }

    #[test]
    fn who_does_not_listen_in_time_has_no_answer() {
        let address = free_address().unwrap();
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(first_answers(&[address], &AtomicBool::new(false), deadline), [None]);
    }
}

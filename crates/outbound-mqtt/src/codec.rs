//! The packets of MQTT 3.1.1 that somebody who publishes sends and receives.

/// Bytes of the longest message, topic included: what a packet's length can say.
pub const MAX_PACKET: usize = 268_435_000;

/// What the broker promises about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QualityOfService {
    /// Nothing.
    AtMostOnce,
    /// That it has it.
    AtLeastOnce,
    /// That it has it and delivers it once.
    ExactlyOnce,
}

/// What a client says first.
pub(crate) struct Connect<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) login: Option<(&'a str, &'a str)>,
    /// Seconds; 0: as long as it likes.
    pub(crate) keep_alive: u16,
}

impl Connect<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // A clean session; the broker keeps nothing of it.
        let flags = if self.login.is_some() { 0xc2 } else { 0x02 };
        let mut body = Vec::new();
        push_text(&mut body, "MQTT");
        body.extend([4, flags]);
        body.extend(self.keep_alive.to_be_bytes());
        push_text(&mut body, self.client_id);
        if let Some((user, password)) = self.login {
            push_text(&mut body, user);
            push_text(&mut body, password);
        }
        packet(0x10, &body)
    }
}

/// A message; `number` is there unless nothing is promised.
pub(crate) fn publish(
    topic: &str,
    payload: &[u8],
    number: Option<(u16, QualityOfService)>,
) -> Vec<u8> {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    push_text(&mut body, topic);
    let mut head = 0x30;
    if let Some((number, quality)) = number {
        head |= if quality == QualityOfService::ExactlyOnce { 4 } else { 2 };
        body.extend(number.to_be_bytes());
    }
    body.extend(payload);
    packet(head, &body)
}

/// The second half of "exactly once".
pub(crate) fn release(number: u16) -> Vec<u8> {
    packet(0x62, &number.to_be_bytes())
}

/// A sign of life.
pub(crate) const PING: [u8; 2] = [0xc0, 0];
/// The last word.
pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// What a broker says to somebody who publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// The answer to [`Connect`]; 0 is yes.
    Connected(u8),
    /// It has the message ("at least once").
    Acknowledged(u16),
    /// It has the message and waits for [`release`] ("exactly once").
    Stored(u16),
    /// It is done with the message ("exactly once").
    Completed(u16),
    /// The answer to [`PING`].
    Pong,
}

/// Bytes that are no packet a broker may send here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The first packet in `bytes` and its length; none if it is not whole yet.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<(Received, usize)>, Malformed> {
    // Every packet that may come has a body of two bytes at most.
    let [head, length, rest @ ..] = bytes else { return Ok(None) };
    let expected = if *head == 0xd0 { 0 } else { 2 };
    if *length != expected {
        return Err(Malformed);
    }
    if *head == 0xd0 {
        return Ok(Some((Received::Pong, 2)));
    }
    let [first, second, ..] = rest else { return Ok(None) };
    let number = u16::from_be_bytes([*first, *second]);
    let received = match *head {
        0x20 => Received::Connected(*second),
        0x40 => Received::Acknowledged(number),
        0x50 => Received::Stored(number),
        0x70 => Received::Completed(number),
        _ => return Err(Malformed),
    };
    Ok(Some((received, 4)))
}

/// A text with its length in front; longer ones were refused before.
fn push_text(body: &mut Vec<u8>, text: &str) {
    body.extend((text.len() as u16).to_be_bytes());
    body.extend(text.as_bytes());
}

fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(body.len() + 5);
    packet.push(head);
    let mut length = body.len();
    loop {
        let digit = (length % 128) as u8;
        length /= 128;
        packet.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_the_standard_says() {
        let connect = Connect { client_id: "me", login: Some(("u", "p")), keep_alive: 30 };
        let expected = b"\x10\x14\0\x04MQTT\x04\xc2\0\x1e\0\x02me\0\x01u\0\x01p";
        assert_eq!(connect.encode(), expected);
        let connect = Connect { client_id: "", login: None, keep_alive: 0 };
        assert_eq!(connect.encode(), b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0");
        assert_eq!(publish("t", b"x", None), b"\x30\x04\0\x01tx");
        let once = Some((7, QualityOfService::AtLeastOnce));
        assert_eq!(publish("t", b"", once), b"\x32\x05\0\x01t\0\x07");
        let exactly = Some((7, QualityOfService::ExactlyOnce));
        assert_eq!(publish("t", b"", exactly), b"\x34\x05\0\x01t\0\x07");
        assert_eq!(release(258), b"\x62\x02\x01\x02");
        assert_eq!(publish("t", &[0; 125], None)[..3], [0x30, 0x80, 0x01]);
    }

    #[test]
    fn answers_are_read_when_they_are_whole() {
        for (bytes, received) in [
            (&b"\x20\x02\0\x05"[..], Received::Connected(5)),
            (b"\x40\x02\x01\0", Received::Acknowledged(256)),
            (b"\x50\x02\0\x07", Received::Stored(7)),
            (b"\x70\x02\0\x07", Received::Completed(7)),
            (b"\xd0\0", Received::Pong),
        ] {
            for end in 0..bytes.len() {
                assert_eq!(decode(&bytes[..end]), Ok(None), "{bytes:?}");
            }
            assert_eq!(decode(bytes), Ok(Some((received, bytes.len()))));
        }
        for bytes in [&b"\x30\x02\0\0"[..], b"\x20\x03\0\0\0", b"\xd0\x01\0", b"HTTP/1.1 400"] {
            assert_eq!(decode(bytes), Err(Malformed), "{bytes:?}");
        }
    }
}

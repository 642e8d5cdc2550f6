//! URLs as guests write them.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

/// What a password must not have in a URL; `%` stays, it may begin an encoded
/// character.
const RESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'%').remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// Parses a URL with an authority. Reserved characters in the password need not
/// be encoded: the user and the password end at the last `@`, if the text is no
/// URL otherwise.
///
/// One parse gives both what is checked and what is connected to.
pub fn parse_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok().or_else(|| Url::parse(&with_user_encoded(text)?).ok())?;
    url.has_authority().then_some(url)
}

fn with_user_encoded(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (user, rest) = rest.rsplit_once('@')?;
    Some(format!("{scheme}://{}@{rest}", utf8_percent_encode(user, RESERVED)))
}

/// `text` without its percent-encoding, if that is UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_of_a_password_need_not_be_encoded() {
        for (text, user, password) in [
            ("redis://u:p@h.test:1/0", "u", "p"),
            ("redis://u:p%40@h.test:1/0", "u", "p@"),
            ("redis://u:p@q@h.test:1/0", "u", "p@q"),
            ("redis://u:p/q?r#s:t@h.test:1/0", "u", "p/q?r#s:t"),
        ] {
            let url = parse_url(text).unwrap();
            assert_eq!((url.host_str(), url.port()), (Some("h.test"), Some(1)), "{text}");
            assert_eq!(url.username(), user, "{text}");
            assert_eq!(percent_decoded(url.password().unwrap()).unwrap(), password, "{text}");
        }
    }

    #[test]
    fn what_has_no_authority_is_no_address() {
        for text in ["", "localhost:6379", "redis:h", "redis:/h", "redis://u:p/q", "://h"] {
            assert!(parse_url(text).is_none(), "{text}");
        }
    }
}

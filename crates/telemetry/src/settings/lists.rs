//! Lists of pairs in variables, in the form of W3C Baggage without properties.

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

/// `key=value` pairs separated by commas, both percent-encoded. None when one is
/// no pair.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let decode =
        |text: &str| Some(percent_decode_str(text.trim()).decode_utf8().ok()?.into_owned());
    text.split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            let key = decode(key)?;
            (!key.is_empty()).then_some((key, decode(value)?))
        })
        .collect()
}

/// Such pairs as headers; their values are not shown by anybody.
pub(super) fn headers(text: &str) -> Option<Vec<(HeaderName, HeaderValue)>> {
    pairs(text)?
        .into_iter()
        .map(|(name, value)| {
            Some((HeaderName::try_from(name).ok()?, http_client::secret_header(&value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let read = pairs(" a = 1 ,b=x%20y%2Cz,c=,").unwrap();
        let expected = [("a", "1"), ("b", "x y,z"), ("c", "")];
        assert!(read.iter().map(|(key, value)| (&**key, &**value)).eq(expected), "{read:?}");
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        for text in ["a", "a=1,b", "=1", "a=%ff"] {
            assert_eq!(pairs(text), None, "{text}");
        }
        assert!(headers("no header=1").is_none());
        assert!(headers("a=line%0Abreak").is_none());
        assert!(headers("authorization=Bearer%20x").unwrap()[0].1.is_sensitive());
    }
}

//! Decimal numbers: in the binary format digits to the base of 10000, here text
//! of any length.

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const NEGATIVE_INFINITY: u16 = 0xf000;

/// The text of a number in the binary format.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let mut fields = bytes.chunks_exact(2).map(|pair| match pair {
        [high, low] => u16::from_be_bytes([*high, *low]),
        _ => 0,
    });
    let count = usize::from(fields.next()?);
    let weight = i32::from(fields.next()? as i16);
    let sign = fields.next()?;
    let scale = usize::from(fields.next()?);
    match sign {
        NAN => return Some("NaN".to_owned()),
        INFINITY => return Some("Infinity".to_owned()),
        NEGATIVE_INFINITY => return Some("-Infinity".to_owned()),
        _ => {}
    }
    let groups: Vec<u16> = fields.take(count).collect();
    // The group that stands for 10000 to the power of `power`.
    let group = |power: i32| {
        let index = usize::try_from(weight - power).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let four_digits = |power| format!("{:04}", group(power));
    let highest = weight.max(0);
    let mut text = group(highest).to_string();
    text.extend((0..highest).rev().map(four_digits));
    if scale > 0 {
        let places = 1..=scale.div_ceil(4) as i32;
        let fraction = places.map(|place| four_digits(-place)).collect::<Vec<_>>().concat();
        text.push('.');
        text += fraction.get(..scale)?;
    }
    Some(if sign == NEGATIVE { format!("-{text}") } else { text })
}

/// The binary format of a number, if the text is one.
pub(super) fn binary(text: &str) -> Option<Vec<u8>> {
    match text {
        "NaN" => return Some(fields(&[], 0, NAN, 0)),
        "Infinity" => return Some(fields(&[], 0, INFINITY, 0)),
        "-Infinity" => return Some(fields(&[], 0, NEGATIVE_INFINITY, 0)),
        _ => {}
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (NEGATIVE, digits),
        None => (0, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, exponent) = match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if all.is_empty() || !all.iter().all(u8::is_ascii_digit) || exponent.abs() > 10_000 {
        return None;
    }
    // The number is 0.d1d2d3... times ten to this power.
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let scale = u16::try_from((i32::try_from(all.len()).ok()? - point).max(0)).ok()?;
    // Zeros in front, so that the point lies between two groups.
    let padding = point.rem_euclid(4);
    let leading = usize::try_from((4 - padding) % 4).ok()?;
    let mut groups = Vec::new();
    let padded: Vec<u8> = std::iter::repeat_n(b'0', leading).chain(all).collect();
    for chunk in padded.chunks(4) {
        let group = chunk.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        groups.push(group * 10_u16.pow(4 - u32::try_from(chunk.len()).ok()?));
    }
    let mut weight = (point + i32::try_from(leading).ok()?) / 4 - 1;
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..zeros);
    weight -= i32::try_from(zeros).ok()?;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        return Some(fields(&[], 0, 0, scale));
    }
    Some(fields(&groups, i16::try_from(weight).ok()?, sign, scale))
}

fn fields(groups: &[u16], weight: i16, sign: u16, scale: u16) -> Vec<u8> {
    let head = [groups.len() as u16, weight as u16, sign, scale];
    head.iter().chain(groups).flat_map(|field| field.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for number in [
            "0",
            "1",
            "-1",
            "10000",
            "12345678",
            "0.1",
            "0.0001",
            "0.00001",
            "1.50",
            "-0.00000001",
            "12345.678901",
            "99999999999999999999999999999999999999.999999999",
            "NaN",
            "Infinity",
            "-Infinity",
            "100000000.0",
            "0.00",
        ] {
            assert_eq!(text(&binary(number).unwrap()).as_deref(), Some(number), "{number}");
        }
        for (number, plain) in [
            ("+5", "5"),
            (".5", "0.5"),
            ("1e3", "1000"),
            ("1.5e-3", "0.0015"),
            ("007", "7"),
            ("-0", "0"),
        ] {
            assert_eq!(text(&binary(number).unwrap()).as_deref(), Some(plain), "{number}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for number in ["", "-", ".", "1.2.3", "ten", "1e", "0x10", "1 ", "1e99999"] {
            assert!(binary(number).is_none(), "{number}");
        }
        assert!(text(&[0, 1]).is_none());
    }
}

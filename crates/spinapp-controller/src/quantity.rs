//! Quantities of Kubernetes, as bytes.

/// The number of bytes that a quantity stands for, rounded up; none when it is
/// not a quantity, is negative, or does not fit into 64 bits.
///
/// The forms are those of the API: `128974848`, `129e6`, `129M`, `123Mi`, `1.5Gi`,
/// `1000m`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let end = digits
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let value: u128 = format!("{whole}{fraction}").parse().ok()?;
    let places = u32::try_from(fraction.len()).ok()?;
    let (factor, divisor) = scale(suffix)?;
    let product = value.checked_mul(factor)?;
    let divisor = divisor.checked_mul(10_u128.checked_pow(places)?)?;
    u64::try_from(product.div_ceil(divisor)).ok()
}

/// What a suffix multiplies by and divides by.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    let decimal = |power: u32| Some((1000_u128.pow(power), 1));
    let binary = |power: u32| Some((1024_u128.pow(power), 1));
    match suffix {
        "" => Some((1, 1)),
        "n" => Some((1, 1_000_000_000)),
        "u" => Some((1, 1_000_000)),
        "m" => Some((1, 1000)),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => exponent(suffix.strip_prefix(['e', 'E'])?),
    }
}

fn exponent(text: &str) -> Option<(u128, u128)> {
    let power: i32 = text.parse().ok()?;
    let scale = 10_u128.checked_pow(power.unsigned_abs())?;
    Some(if power < 0 { (1, scale) } else { (scale, 1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_quantity_is_understood() {
        let forms = [
            ("0", 0),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("129M", 129_000_000),
            ("123Mi", 128_974_848),
            ("1.5Gi", 1_610_612_736),
            ("1000m", 1),
            ("+1Ki", 1024),
            (".5k", 500),
            ("1E", 1_000_000_000_000_000_000),
        ];
        for (text, expected) in forms {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_fraction_of_a_byte_is_rounded_up() {
        assert_eq!(bytes("1m"), Some(1));
        assert_eq!(bytes("1.0000001k"), Some(1001));
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        for text in ["", "Mi", "-1", "1.2.3", "1 Mi", "1Zi", "1e", "99Ei", "."] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}

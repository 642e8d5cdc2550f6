//! The annotations of an image.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use app::LockedApp;

use super::Options;

/// All annotations: the inferred ones, overridden by the given ones.
pub(super) fn of(app: &LockedApp, options: &Options) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    if options.infer_annotations {
        let metadata = &app.metadata;
        let authors = (!metadata.authors.is_empty()).then(|| metadata.authors.join(", "));
        let title = (!metadata.name.is_empty()).then(|| metadata.name.clone());
        for (key, value) in [
            ("authors", authors),
            ("title", title),
            ("description", metadata.description.clone()),
            ("version", metadata.version.clone()),
            ("created", Some(rfc3339(options.created))),
        ] {
            if let Some(value) = value {
                annotations.insert(format!("org.opencontainers.image.{key}"), value);
            }
        }
    }
    annotations.extend(options.annotations.clone());
    annotations
}

/// A time in UTC, to the second, as RFC 3339 writes it. Times before 1970 count
/// as 1970.
fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Eras of 400 years, counted from 0000-03-01 so that leap days come last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }
}

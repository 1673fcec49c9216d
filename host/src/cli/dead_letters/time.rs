//! Moments, as people type and read them: UTC, RFC 3339.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) i64);

const DAY_MS: i64 = 86_400_000;

impl Moment {
    fn now() -> Moment {
        Moment(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
    }
}

/// `2026-11-24`, `2026-11-24T16:30:00Z`, or so long ago: `90s`, `15m`, `2h`, `3d`.
impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Moment, String> {
        ago(text).map(|ago| Moment(Moment::now().0 - ago)).or_else(|| absolute(text)).ok_or_else(|| {
            format!("expected a time such as `2026-11-24`, `2026-11-24T16:30:00Z` (UTC) or, for so long ago, `15m`, `2h` or `3d`, found `{text}`")
        })
    }
}

/// `2026-11-24T16:30:00.123Z`.
impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, ms) = (self.0.div_euclid(DAY_MS), self.0.rem_euclid(DAY_MS));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
    }
}

fn ago(text: &str) -> Option<i64> {
    let unit = match text.chars().last()? {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => DAY_MS,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u32>().ok().map(|count| i64::from(count) * unit)
}

fn absolute(text: &str) -> Option<Moment> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time.strip_suffix('Z').unwrap_or(time)),
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = if time.matches(':').count() == 1 { numbers(&format!("{time}:00"), ':')? } else { numbers(time, ':')? };
    let days = days(year, month, day);
    if civil(days) != (year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(Moment(days * DAY_MS + (hour * 3_600 + minute * 60 + second) * 1_000))
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let numbers: Option<Vec<i64>> =
        text.split(separator).map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?).collect();
    numbers?.try_into().ok()
}

/// Days since the epoch of a date of the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since the epoch; the inverse of [`days`], from the same source.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        for (text, ms) in [
            ("1970-01-01", 0),
            ("2000-02-29T12:00Z", 951_825_600_000),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2026-11-24 16:30:05", 1_795_537_805_000),
        ] {
            assert_eq!(text.parse(), Ok(Moment(ms)), "{text}");
        }
        assert_eq!(Moment(1_700_000_000_123).to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Moment(-1).to_string(), "1969-12-31T23:59:59.999Z");
        for day in -200_000..200_000 {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), day);
        }
    }

    #[test]
    fn so_long_ago_is_before_now() {
        let (now, then) = (Moment::now(), "2h".parse::<Moment>().expect("a time"));
        assert!((7_200_000..7_260_000).contains(&(now.0 - then.0 + 30_000)), "{then}");
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_is() {
        for text in ["", "yesterday", "2026-13-01", "2026-02-30", "2026-11-24T25:00Z", "-3d", "2026-11", "h"] {
            let error = text.parse::<Moment>().expect_err(text);
            assert!(error.contains("2026-11-24T16:30:00Z") && error.ends_with(&format!("found `{text}`")), "{error}");
        }
    }
}

//! How single values are written: durations, sizes, rates, ranges.

use std::time::Duration;

use super::Rate;

/// `250ms`, `5s`, `2m`, `1h`; fractions as in `1.5s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let accepted = || format!("expected a duration such as `250ms`, `5s`, `2m` or `1h`, found `{text}`");
    let (number, unit) = split(text).ok_or_else(accepted)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(accepted()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| accepted())
}

/// `512KiB`, `64MiB`, `2GiB`, or bytes.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let accepted = || format!("expected a size such as `512KiB`, `64MiB` or `2GiB`, found `{text}`");
    let (number, unit) = split(text).ok_or_else(accepted)?;
    let bytes = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(accepted()),
    };
    // A size beyond 2^53 bytes is a typing error, and the cast is exact below it.
    let bytes = number * bytes;
    if bytes < 9e15 { Ok(bytes as usize) } else { Err(accepted()) }
}

/// `500/s`, `30/m`, `1000/h`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let accepted = || format!("expected a rate such as `500/s`, `30/m` or `1000/h`, found `{text}`");
    let (requests, unit) = text.split_once('/').ok_or_else(accepted)?;
    let requests: u32 = requests.trim().parse().map_err(|_| accepted())?;
    let per = match unit.trim() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(accepted()),
    };
    if requests == 0 {
        return Err("a rate of nothing would never send; leave `rate` out for no limit".into());
    }
    Ok(Rate { requests, per: Duration::from_secs(per) })
}

/// `100ms..30s`.
pub(super) fn backoff(text: &str) -> Result<(Duration, Duration), String> {
    let (min, max) = text.split_once("..").ok_or_else(|| format!("expected a range such as `100ms..30s`, found `{text}`"))?;
    let (min, max) = (duration(min.trim())?, duration(max.trim())?);
    if min.is_zero() || min > max {
        return Err(format!("the range `{text}` must begin above zero and not end before it begins"));
    }
    Ok((min, max))
}

/// A number that is not negative, and what stands behind it.
fn split(text: &str) -> Option<(f64, &str)> {
    let at = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    Some((text[..at].parse().ok()?, text[at..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_sizes_rates_and_ranges_are_read() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("512 B"), Ok(512));
        assert_eq!(rate("30/m"), Ok(Rate { requests: 30, per: Duration::from_secs(60) }));
        assert_eq!(backoff("100ms..30s"), Ok((Duration::from_millis(100), Duration::from_secs(30))));
    }

    #[test]
    fn what_is_none_of_them_is_refused() {
        for text in ["", "5", "s", "-5s", "5 parsecs", "1e400s", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["64MB", "64", "999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        for text in ["500", "0/s", "-1/s", "5/d"] {
            assert!(rate(text).is_err(), "{text}");
        }
        for text in ["100ms", "5s..1s", "0s..1s"] {
            assert!(backoff(text).is_err(), "{text}");
        }
    }
}

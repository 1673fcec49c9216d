//! How long to wait before a further try.

use std::time::Duration;

/// Anything between nothing and `first` x 2^(tries - 1), at most `most`, after this many failed tries: exponential backoff with full jitter, which spreads retries best (AWS Architecture Blog,
/// "Exponential Backoff And Jitter", 2015).
pub fn backoff(tries: u32, first: Duration, most: Duration) -> Duration {
    let ceiling = first.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(most);
    ceiling.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_from_the_first_wait_to_the_longest_and_uses_all_of_it() {
        let (first, most) = (Duration::from_millis(100), Duration::from_millis(500));
        for (tries, ceiling) in [(0, 100), (1, 100), (2, 200), (3, 400), (4, 500), (u32::MAX, 500)] {
            let ceiling = Duration::from_millis(ceiling);
            let waits: Vec<Duration> = (0..1_000).map(|_| backoff(tries, first, most)).collect();
            assert!(waits.iter().all(|wait| *wait <= ceiling), "{tries}");
            assert!(waits.iter().any(|wait| *wait < ceiling / 4) && waits.iter().any(|wait| *wait > ceiling * 3 / 4), "{tries}");
        }
    }
}

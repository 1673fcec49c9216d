//! The retry budget of one destination.
//!
//! While requests wait that were never sent, retries may be at most a fifth of what is sent: a destination in trouble gets no multiple of its
//! usual load, and one bad record takes no more than its share from good ones. The form is Finagle's `RetryBudget` (a bucket that each request fills
//! by a fraction and each retry empties by one), the share is between its default of 20 % and the 10 % of "Site Reliability Engineering",
//! chapter 21 (Google, 2016).

/// Retries for each first attempt.
const SHARE: f64 = 0.2;

/// The most that can be saved up. Finagle saves ten seconds' worth; a count needs no clock, and this many retries at once hurt nobody.
const MOST: f64 = 10.0;

#[derive(Debug)]
pub(super) struct Budget(f64);

impl Budget {
    /// Begins full.
    pub(super) fn new() -> Budget {
        Budget(MOST)
    }

    /// A first attempt is sent.
    pub(super) fn earn(&mut self) {
        self.0 = (self.0 + SHARE).min(MOST);
    }

    /// Whether a retry may go before a first attempt that waits.
    pub(super) fn allows(&self) -> bool {
        // Five fifths do not make one in binary.
        self.0 >= 1.0 - 1e-9
    }

    /// A retry is sent. One that goes although the budget is spent, because nobody waits, costs nothing.
    pub(super) fn spend(&mut self) {
        if self.allows() {
            self.0 -= 1.0;
        }
    }
}

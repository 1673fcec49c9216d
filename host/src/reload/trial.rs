//! Whether a new version faults much more than the old one did: pure.

use std::time::Duration;

/// Records after which the trial of a version is over.
pub(super) const TRIAL_CALLS: u64 = 50;
/// Time after which it is over anyway. Long, because a trial costs nothing and a plugin may see a record a minute.
pub(super) const TRIAL_TIME: Duration = Duration::from_secs(600);
/// Fewer faults than this prove nothing: one bad record, tried by each version, is one.
const LEAST_FAULTS: u64 = 3;

/// Calls, and faults among them.
pub(super) type Count = (u64, u64);

/// What the trial has shown so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Nothing yet.
    Open,
    /// The version is no worse than the other was.
    Passed,
    /// It is.
    Failed,
}

/// Judges a version by its count since it went live and by the old version's recent count.
///
/// It fails when more of its calls fault than twice the old share and a tenth. The trial does not wait for all of its calls when those that
/// are still to come could not save it: of a version that faults every time, six records suffer.
pub(super) fn judge(new: Count, old: Count, elapsed: Duration) -> Finding {
    let (calls, faults) = new;
    let too_many = |of: u64| faults >= LEAST_FAULTS && faults as f64 > accepted(old) * of as f64;
    if too_many(TRIAL_CALLS.max(calls)) {
        return Finding::Failed;
    }
    if calls < TRIAL_CALLS && elapsed < TRIAL_TIME {
        return Finding::Open;
    }
    if too_many(calls) { Finding::Failed } else { Finding::Passed }
}

/// The share of faults that a successor of this version may have.
fn accepted((calls, faults): Count) -> f64 {
    let share = if calls == 0 { 0.0 } else { faults as f64 / calls as f64 };
    (2.0 * share + 0.1).min(1.0)
}

/// Remembers a serving version's count of a minute or two ago, so that its *recent* share of faults is what a successor is compared with: what
/// the records were like last month says little about those of now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Recent {
    earlier: Count,
    mark: Count,
}

/// How often [`Recent::mark`] is to be called.
pub(super) const MARK_EVERY: Duration = Duration::from_secs(60);

impl Recent {
    /// Takes a mark.
    pub(super) fn mark(&mut self, now: Count) {
        self.earlier = std::mem::replace(&mut self.mark, now);
    }

    /// What came since the mark before the last; all, when that is too little to tell.
    pub(super) fn of(&self, now: Count) -> Count {
        let recent = (now.0.saturating_sub(self.earlier.0), now.1.saturating_sub(self.earlier.1));
        if recent.0 >= TRIAL_CALLS { recent } else { now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(1);

    #[test]
    fn a_broken_version_fails_after_six_records() {
        let good = (10_000, 0);
        for faults in 0..=5 {
            assert_eq!(judge((faults, faults), good, SOON), Finding::Open);
        }
        assert_eq!(judge((6, 6), good, SOON), Finding::Failed);
    }

    #[test]
    fn a_version_no_worse_than_the_old_one_passes() {
        assert_eq!(judge((49, 0), (0, 0), SOON), Finding::Open);
        assert_eq!(judge((50, 0), (0, 0), SOON), Finding::Passed);
        assert_eq!(judge((50, 5), (100, 0), SOON), Finding::Passed, "a tenth is forgiven");
        assert_eq!(judge((50, 6), (100, 0), SOON), Finding::Failed);
        assert_eq!(judge((50, 14), (100, 10), SOON), Finding::Passed, "the records are bad, not the version");
        assert_eq!(judge((50, 16), (100, 10), SOON), Finding::Failed);
        assert_eq!(judge((50, 50), (100, 50), SOON), Finding::Passed, "nothing is worse than what faults half the time");
    }

    #[test]
    fn many_calls_between_two_looks_are_judged_by_all_of_them() {
        assert_eq!(judge((5_000, 20), (100, 0), SOON), Finding::Passed);
        assert_eq!(judge((5_000, 4_000), (100, 0), SOON), Finding::Failed);
    }

    #[test]
    fn rare_records_are_judged_when_the_time_is_over() {
        assert_eq!(judge((4, 3), (1_000, 0), SOON), Finding::Open);
        assert_eq!(judge((4, 3), (1_000, 0), TRIAL_TIME), Finding::Failed);
        assert_eq!(judge((2, 2), (1_000, 0), TRIAL_TIME), Finding::Passed, "two faults prove nothing");
        assert_eq!(judge((0, 0), (1_000, 0), TRIAL_TIME), Finding::Passed);
    }

    #[test]
    fn the_old_share_is_the_recent_one() {
        let mut recent = Recent::default();
        assert_eq!(recent.of((10, 1)), (10, 1), "too few since the mark: all of them");
        recent.mark((1_000, 900));
        recent.mark((2_000, 900));
        assert_eq!(recent.of((2_500, 910)), (1_500, 10));
    }
}

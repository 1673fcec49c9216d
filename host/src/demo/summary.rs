//! How the demo went: counts of both ends side by side, and whether they add up.

use std::fmt;

use crate::observe::{Metrics, PluginCounts, Status};

/// How records ended, over all plugins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) delivered: u64,
    pub(super) skipped: u64,
    pub(super) dead_lettered: u64,
}

impl Ended {
    /// So far.
    pub(super) fn of(metrics: &Metrics, status: &Status) -> Ended {
        let named = status.plugins.iter().map(|plugin| metrics.plugin(&plugin.name));
        named.chain([metrics.unrouted()]).fold(Ended::default(), Ended::and)
    }

    fn and(self, counts: PluginCounts) -> Ended {
        Ended {
            delivered: self.delivered + counts.delivered,
            skipped: self.skipped + counts.skipped,
            dead_lettered: self.dead_lettered + counts.dead_lettered,
        }
    }

    pub(super) fn total(self) -> u64 {
        self.delivered + self.skipped + self.dead_lettered
    }
}

/// What both ends counted.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub(super) produced: u64,
    pub(super) unacknowledged: u64,
    pub(super) ended: Ended,
    /// Dead letters in their topic, by the broker's count.
    pub(super) letters: u64,
    /// Replies of success that the host has seen.
    pub(super) done: u64,
    /// Requests that the destinations accepted, by their own count.
    pub(super) accepted: u64,
    /// What did not happen as it should, in the order of the story.
    pub(super) missed: Vec<String>,
}

impl Summary {
    /// What is wrong; nothing when all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.missed.clone();
        let mut same = |what: &str, left: u64, right: u64| {
            if left != right {
                problems.push(format!("{what}: {left} is not {right}"));
            }
        };
        same("produced = delivered + skipped + dead-lettered", self.produced, self.ended.total());
        same("dead-lettered = dead letters in Kafka", self.ended.dead_lettered, self.letters);
        same("successful replies = requests accepted by the destinations", self.done, self.accepted);
        same("records that the broker did not take = none", self.unacknowledged, 0);
        if self.produced == 0 {
            problems.push("no record was produced".to_owned());
        }
        problems
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { delivered, skipped, dead_lettered } = self.ended;
        writeln!(f, "produced {} = delivered {delivered} + skipped {skipped} + dead-lettered {dead_lettered}", self.produced)?;
        writeln!(
            f,
            "dead letters in Kafka {}; requests accepted by the destinations {}, seen by the host {}",
            self.letters, self.accepted, self.done
        )?;
        let problems = self.problems();
        match problems.as_slice() {
            [] => write!(f, "the counts add up: nothing was lost, nothing was counted twice"),
            _ => write!(f, "THE DEMO FAILED\n  {}", problems.join("\n  ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Summary {
        let ended = Ended { delivered: 90, skipped: 8, dead_lettered: 2 };
        Summary { produced: 100, ended, letters: 2, done: 120, accepted: 120, ..Summary::default() }
    }

    #[test]
    fn counts_that_add_up_are_well() {
        assert_eq!(well().problems(), Vec::<String>::new());
    }

    #[test]
    fn any_count_that_is_off_is_a_problem() {
        let off = [
            Summary { produced: 101, ..well() },
            Summary { letters: 1, ..well() },
            Summary { accepted: 121, ..well() },
            Summary { unacknowledged: 1, ..well() },
            Summary { missed: vec!["`audit` did not go live".into()], ..well() },
        ];
        for summary in off {
            assert_eq!(summary.problems().len(), 1, "{summary}");
            assert!(summary.to_string().contains("THE DEMO FAILED"), "{summary}");
        }
        assert!(!Summary::default().problems().is_empty(), "a demo in which nothing happened is no success");
    }
}

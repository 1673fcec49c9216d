//! Which dead letters are meant.

use clap::Args;

use super::reader::DeadLetter;
use super::time::Moment;
use crate::outcome::Reason;
use crate::policy::Pattern;

/// All that is given must fit; what is given several times fits if one of it does.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Filter {
    /// Only letters with this reason, for example `exhausted`; may be given several times
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: Vec<Reason>,
    /// Only letters of this plugin; a pattern such as `payments/*`
    #[arg(long, value_name = "PATTERN")]
    plugin: Vec<Pattern>,
    /// Only letters whose request to this destination failed
    #[arg(long, value_name = "PATTERN")]
    destination: Vec<Pattern>,
    /// Only letters with this key; a pattern such as `order:*`
    #[arg(long, value_name = "PATTERN")]
    key: Vec<Pattern>,
    /// Only letters written at or after this time: `2026-11-24T16:30:00Z`, or so long ago: `2h`
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<Moment>,
    /// Only letters written before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

fn reason(text: &str) -> Result<Reason, String> {
    Reason::ALL.into_iter().find(|reason| reason.code() == text).ok_or_else(|| {
        let all: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        format!("expected one of {}", all.join(", "))
    })
}

impl Filter {
    /// Whether this letter is meant.
    pub(super) fn takes(&self, found: &DeadLetter) -> bool {
        let letter = &found.letter;
        let at = letter.failed_at.or(found.timestamp);
        (self.reason.is_empty() || self.reason.iter().any(|reason| letter.reason.as_deref() == Some(reason.code())))
            && fits(&self.plugin, letter.plugin.as_deref())
            && fits(&self.destination, letter.destination.as_deref())
            && fits(&self.key, found.key_text())
            && self.since.is_none_or(|since| at.is_some_and(|at| at >= since.0))
            && self.until.is_none_or(|until| at.is_some_and(|at| at < until.0))
    }
}

/// Whether one of the patterns matches; no pattern matches everything, and what has no text is matched by `*` alone.
fn fits(patterns: &[Pattern], text: Option<&str>) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| text.map_or(*pattern == Pattern::Any, |text| pattern.matches(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settle::dead_letter::Letter;

    fn letter(reason: &str, plugin: Option<&str>, key: Option<&str>, failed_at: i64) -> DeadLetter {
        DeadLetter {
            partition: 0,
            offset: 0,
            timestamp: None,
            key: key.map(|key| key.to_owned().into()),
            payload: None,
            headers: Vec::new(),
            letter: Letter { reason: Some(reason.into()), plugin: plugin.map(Into::into), failed_at: Some(failed_at), ..Letter::default() },
        }
    }

    #[test]
    fn all_that_is_given_must_fit() {
        let found = letter("cpu", Some("payments/refund"), Some("refund:7"), 1_000);
        let pattern = |text: &str| vec![text.parse().expect("a pattern")];
        assert!(Filter::default().takes(&found));
        let filter =
            Filter { reason: vec![Reason::Trapped, Reason::Cpu], plugin: pattern("payments/*"), key: pattern("refund:*"), ..Filter::default() };
        assert!(filter.takes(&found));
        assert!(!filter.takes(&letter("memory", Some("payments/refund"), Some("refund:7"), 1_000)));
        assert!(!filter.takes(&letter("cpu", None, Some("refund:7"), 1_000)));
        assert!(!filter.takes(&letter("cpu", Some("payments/refund"), None, 1_000)));
        assert!(!Filter { destination: pattern("orders"), ..Filter::default() }.takes(&found));
        let hour = Filter { since: Some(Moment(1_000)), until: Some(Moment(2_000)), ..Filter::default() };
        assert!(hour.takes(&found) && !hour.takes(&letter("cpu", None, None, 2_000)) && !hour.takes(&letter("cpu", None, None, 999)));
    }

    #[test]
    fn a_reason_that_is_none_is_refused_with_all_that_are() {
        assert_eq!(reason("oversized"), Ok(Reason::Oversized));
        assert!(reason("timeout").expect_err("no reason").contains("unrouted, malformed, rejected"));
    }
}

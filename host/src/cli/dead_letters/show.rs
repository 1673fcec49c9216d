//! `keyway dead-letters show`.

use std::io::Write as _;

use clap::Args;

use super::reader::{DeadLetter, Reader};
use super::time::Moment;
use crate::cli::{ConfigFile, Exit, show_error};
use crate::settle::dead_letter::{self, PREFIX};

/// Shows one dead letter.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    config: ConfigFile,
    /// The letter, as `list` names it: PARTITION@OFFSET
    #[arg(value_name = "LETTER", value_parser = letter_id)]
    letter: (i32, i64),
    /// Write the payload alone, as it is
    #[arg(long)]
    payload: bool,
}

fn letter_id(text: &str) -> Result<(i32, i64), String> {
    let parsed = text.split_once('@').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    parsed.ok_or_else(|| "expected PARTITION@OFFSET, for example `0@42`, as `keyway dead-letters list` shows it".to_owned())
}

impl Show {
    pub(super) fn execute(self) -> Exit {
        let config = match self.config.load() {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let (partition, offset) = self.letter;
        let found = Reader::open(&config.kafka, &config.kafka.group).and_then(|mut reader| reader.find(partition, offset));
        match found {
            Ok(found) => {
                let mut stdout = std::io::stdout().lock();
                // When nobody reads any more there is nobody to tell.
                let _ = if self.payload {
                    stdout.write_all(found.payload.as_deref().unwrap_or_default())
                } else {
                    stdout.write_all(text(&found).as_bytes())
                };
                Exit::Done
            }
            Err(error) => {
                show_error(format!("failed to {error}"), None);
                Exit::Failed
            }
        }
    }
}

fn text(found: &DeadLetter) -> String {
    let mut lines = vec![format!("letter          {}", found.id())];
    let mut line = |name: &str, value: &str| lines.push(format!("{name:<15} {}", clean(value).replace('\n', &format!("\n{:16}", ""))));
    // Ours first, in the order in which they are written; the record's own after them.
    for (name, value) in found.headers.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let value = String::from_utf8_lossy(value);
        let moment = matches!(name.as_str(), dead_letter::FAILED_AT | dead_letter::TIMESTAMP).then(|| value.parse().ok()).flatten();
        line(&name[PREFIX.len()..], &moment.map_or_else(|| value.to_string(), |ms| Moment(ms).to_string()));
    }
    line("key", &found.key.as_deref().map_or_else(|| "(none)".into(), String::from_utf8_lossy));
    for (name, value) in found.headers.iter().filter(|(name, _)| !name.starts_with(PREFIX)) {
        line("header", &format!("{name}: {}", String::from_utf8_lossy(value)));
    }
    match (&found.payload, found.letter.payload_dropped) {
        (_, Some(bytes)) => line("payload", &format!("(left out: {bytes} bytes were more than Kafka takes)")),
        (None, None) => line("payload", "(none: a tombstone)"),
        (Some(payload), None) => {
            line("payload", &String::from_utf8_lossy(payload));
        }
    }
    lines.join("\n") + "\n"
}

/// Without what a terminal would obey: the letter's words come from anywhere.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settle::dead_letter::Letter;

    #[test]
    fn a_letter_is_shown_whole() {
        let headers: Vec<(String, bytes::Bytes)> = [
            ("ce_type", "order"),
            ("keyway-reason", "trapped"),
            ("keyway-detail", "unreachable\n  at order::transform\x1b[2J"),
            ("keyway-failed-at", "1700000000123"),
        ]
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).into()))
        .collect();
        let letter = Letter::read(headers.iter().map(|(name, value)| (name.as_str(), &value[..])));
        let found =
            DeadLetter { partition: 1, offset: 5, timestamp: None, key: Some("k".into()), payload: Some("{\"a\":1}".into()), headers, letter };
        insta::assert_snapshot!(text(&found), @r#"
        letter          1@5
        reason          trapped
        detail          unreachable
                          at order::transform [2J
        failed-at       2023-11-14T22:13:20.123Z
        key             k
        header          ce_type: order
        payload         {"a":1}
        "#);
    }

    #[test]
    fn a_letter_is_named_by_partition_and_offset() {
        assert_eq!(letter_id("3@42"), Ok((3, 42)));
        assert!(letter_id("42").is_err() && letter_id("a@b").is_err());
    }
}

//! Two texts beside one another: what is expected and what was seen, line by line.

use similar::{ChangeTag, TextDiff};

/// Lines around a difference that are shown with it.
const AROUND: usize = 3;

/// The differing lines with some around them: `-` for what was expected and is not there, `+` for what is there instead.
pub(super) fn lines(expected: &str, seen: &str) -> String {
    let difference = TextDiff::from_lines(expected, seen);
    let mut text = String::new();
    for (index, group) in difference.grouped_ops(AROUND).iter().enumerate() {
        if index > 0 {
            text.push_str("  …\n");
        }
        for change in group.iter().flat_map(|operation| difference.iter_changes(operation)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            text.push(sign);
            text.push(' ');
            text.push_str(change.value().trim_end_matches('\n'));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_shown_with_some_lines_around_it() {
        let expected: Vec<String> = (0..20).map(|line| format!("line {line}")).collect();
        let seen: Vec<String> =
            expected.iter().map(|line| if line == "line 2" || line == "line 15" { "other".into() } else { line.clone() }).collect();
        insta::assert_snapshot!(lines(&expected.join("\n"), &seen.join("\n")), @"
          line 0
          line 1
        - line 2
        + other
          line 3
          line 4
          line 5
          …
          line 12
          line 13
          line 14
        - line 15
        + other
          line 16
          line 17
          line 18
        ");
        assert_eq!(lines("same", "same"), "");
    }
}

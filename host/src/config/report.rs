//! Problems of a configuration file, and how they are shown: all at once, each with its place, its cause and its mend.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode};

/// Columns of what is shown on a terminal: what an eye takes in at once; narrower terminals wrap by themselves.
const WIDTH: usize = 100;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes of the file; none for the file as a whole.
    pub span: Option<Range<usize>>,
    /// What was seen and what is accepted.
    pub cause: String,
    /// The mend, if one is known.
    pub hint: Option<String>,
    /// Whether a secret may stand there, so that not even the place itself is shown.
    secret: bool,
}

/// All problems of one file.
#[derive(Clone, PartialEq, Eq)]
pub struct Report {
    file: PathBuf,
    text: Arc<str>,
    problems: Vec<Problem>,
    /// Every key that was asked for, so that a test can hold the documentation to it.
    #[cfg(test)]
    pub(super) read: std::collections::BTreeSet<String>,
}

impl Report {
    /// No problems yet.
    pub(super) fn new(file: &Path, text: &str) -> Report {
        Report {
            file: file.to_owned(),
            text: text.into(),
            problems: Vec::new(),
            #[cfg(test)]
            read: std::collections::BTreeSet::new(),
        }
    }

    /// The file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The folder of the file, which relative paths in it start from.
    pub(super) fn folder(&self) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).to_owned()
    }

    /// Reads something that holds secrets: the problems that come of it are shown without what stands there.
    pub(super) fn secretly<T>(&mut self, read: impl FnOnce(&mut Report) -> T) -> T {
        let before = self.problems.len();
        let value = read(self);
        for problem in &mut self.problems[before..] {
            problem.secret = true;
        }
        value
    }

    /// Adds a problem.
    pub(super) fn add(&mut self, span: Option<Range<usize>>, cause: impl Into<String>, hint: Option<String>) {
        self.problems.push(Problem { span, cause: cause.into(), hint, secret: false });
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// In the order of the file.
    pub(super) fn sorted(mut self) -> Report {
        self.problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
        self
    }

    /// The problems, in the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// For a terminal: each problem with the lines that it is about, in which no other string than the problem's own is shown: they may hold secrets.
    pub fn to_pretty(&self, colours: bool) -> String {
        let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH);
        let mut text = String::new();
        for problem in &self.problems {
            let source = masked(&self.text, problem.span.clone().filter(|_| !problem.secret));
            let source = NamedSource::new(self.file.display().to_string(), source);
            // Writing to a string does not fail.
            let _ = handler.render_report(&mut text, &Shown { problem, source });
        }
        text
    }

    /// The problems without their hints, in one line: for where there is room for no more.
    pub fn summary(&self) -> String {
        let problem = |problem: &Problem| match &problem.span {
            Some(span) => format!("line {}: {}", self.line_and_column(span.start).0, problem.cause),
            None => problem.cause.clone(),
        };
        self.problems.iter().map(problem).collect::<Vec<_>>().join("; ")
    }

    fn line_and_column(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..at.min(self.text.len())];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// For logs and pipes: one line a problem, and one for its hint.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.file.display())?;
            if let Some(span) = &problem.span {
                let (line, column) = self.line_and_column(span.start);
                write!(f, "{line}:{column}:")?;
            }
            write!(f, " {}", problem.cause)?;
            if let Some(hint) = &problem.hint {
                write!(f, "\n  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

/// The problems alone: the file's text may hold secrets.
impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("file", &self.file).field("problems", &self.problems).finish_non_exhaustive()
    }
}

impl std::error::Error for Report {}

/// The text with everything in quotes but what stands in `shown` replaced by as many asterisks as it has bytes.
fn masked(text: &str, shown: Option<Range<usize>>) -> String {
    let mut masked = Vec::with_capacity(text.len());
    // The quotes that end the string: one of `"`, `'`, three of them, or none outside of a string.
    let mut end: &str = "";
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let opens = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| rest.starts_with(quotes));
        let (piece, hidden) = match (end, opens) {
            ("", Some(quotes)) => {
                end = quotes;
                (quotes, false)
            }
            ("", None) => (&rest[..first.len_utf8()], false),
            (quotes, _) if rest.starts_with(quotes) => {
                end = "";
                (quotes, false)
            }
            // A string in one line ends with it, even if its quotes are missing.
            (quotes, _) if first == '\n' => {
                end = if quotes.len() == 3 { quotes } else { "" };
                ("\n", false)
            }
            (quotes, _) if quotes.starts_with('"') && first == '\\' => {
                let escaped = rest[1..].chars().next().filter(|escaped| *escaped != '\n').map_or(0, char::len_utf8);
                (&rest[..1 + escaped], true)
            }
            _ => (&rest[..first.len_utf8()], true),
        };
        if hidden && !shown.as_ref().is_some_and(|shown| shown.contains(&at)) {
            masked.resize(masked.len() + piece.len(), b'*');
        } else {
            masked.extend_from_slice(piece.as_bytes());
        }
        rest = &rest[piece.len()..];
    }
    String::from_utf8_lossy(&masked).into_owned()
}

/// A problem beside its source, as miette wants it.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: NamedSource<String>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.cause)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.hint.as_ref().map(|hint| Box::new(hint) as _)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.span.as_ref().map(|_| &self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::underline(span))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_quotes_is_masked() {
        for (text, expected) in [
            ("a = \"bc\" # \"d\"", "a = \"**\" # \"*\""),
            ("a = 'b\"c'\nd = 5", "a = '***'\nd = 5"),
            ("a = \"b\\\"c\" e", "a = \"****\" e"),
            ("a = \"unclosed\nb = 1", "a = \"********\nb = 1"),
            ("a = \"\"\"x\n\"y\"\n\"\"\" b", "a = \"\"\"*\n***\n\"\"\" b"),
            ("a = \"\" b = \"ä\"", "a = \"\" b = \"**\""),
        ] {
            assert_eq!(masked(text, None), expected);
            assert_eq!(masked(text, Some(0..text.len())), text);
        }
        assert_eq!(masked("a = \"bc\"; d = \"ef\"", Some(4..8)), "a = \"bc\"; d = \"**\"");
    }
}

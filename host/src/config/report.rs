//! Problems of a configuration file, and how they are shown: all at once, each with its place, its cause and its mend.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes of the file; none for the file as a whole.
    pub span: Option<Range<usize>>,
    /// What was seen and what is accepted.
    pub cause: String,
    /// The mend, if one is known.
    pub hint: Option<String>,
}

/// All problems of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    file: PathBuf,
    text: Arc<str>,
    problems: Vec<Problem>,
}

impl Report {
    /// No problems yet.
    pub(super) fn new(file: &Path, text: &str) -> Report {
        Report { file: file.to_owned(), text: text.into(), problems: Vec::new() }
    }

    /// Adds a problem.
    pub(super) fn add(&mut self, span: Option<Range<usize>>, cause: impl Into<String>, hint: Option<String>) {
        self.problems.push(Problem { span, cause: cause.into(), hint });
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
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

    /// For a terminal: each problem with the lines that it is about.
    pub fn to_pretty(&self) -> String {
        let source = Arc::new(NamedSource::new(self.file.display().to_string(), self.text.to_string()));
        self.problems
            .iter()
            .map(|problem| format!("{:?}\n", miette::Report::new(Shown { problem: problem.clone(), source: Arc::clone(&source) })))
            .collect()
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

impl std::error::Error for Report {}

/// A problem beside its source, as miette wants it.
#[derive(Debug)]
struct Shown {
    problem: Problem,
    source: Arc<NamedSource<String>>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.cause)
    }
}

impl std::error::Error for Shown {}

impl Diagnostic for Shown {
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

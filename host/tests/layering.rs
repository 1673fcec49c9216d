//! Holds the structure of `ARCHITECTURE.md` up: which module may import which.
//!
//! A stage never imports another stage. `run` and `pipeline` join them, `app` and the commands pick who does the work.

#![expect(clippy::unwrap_used, reason = "a test may panic, and so may what only tests call")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What every stage may know besides itself: the data that passes between stages, and pure decisions about it.
const SHARED: &[&str] = &["record", "outcome", "plugin", "policy", "config"];

const STAGES: &[&str] = &["consume", "route", "transform", "reload", "deliver", "settle"];

/// What each other module may import; `*` is everything. Modules that hold tests alone have no rule.
const RULES: &[(&str, &[&str])] = &[
    ("record", &[]),
    ("outcome", &[]),
    ("policy", &["outcome"]),
    ("plugin", &["policy", "outcome"]),
    ("config", &["policy", "plugin", "outcome"]),
    ("observe", SHARED),
    ("cluster", &["config"]),
    ("lanes", &["record", "outcome", "plugin", "policy", "config", "settle"]),
    ("pipeline", &["record", "outcome", "plugin", "policy", "config", "observe", "lanes", "route", "transform", "deliver", "settle"]),
    (
        "run",
        &["record", "outcome", "plugin", "policy", "config", "observe", "lanes", "pipeline", "consume", "route", "transform", "deliver", "settle"],
    ),
    ("fakes", &["*"]),
    ("app", &["*"]),
    ("build", &[]),
    ("cli", &["*"]),
    ("demo", &["*"]),
];

/// Single items that may pass where their module may not.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The source commits what the loop says is settled when it lets partitions go.
    ("consume", "settle::Mark"),
    ("consume", "settle::NextOffset"),
    ("consume", "settle::Offsets"),
    ("consume", "settle::offsets"),
];

/// Whether a module may import an item, given as `module::Item`.
fn allowed(from: &str, item: &str) -> Result<bool, String> {
    let to = item.split("::").next().unwrap_or(item);
    if from == to || EXCEPTIONS.contains(&(from, item)) {
        return Ok(true);
    }
    if STAGES.contains(&from) {
        return Ok(SHARED.contains(&to) || to == "observe" || to == "cluster");
    }
    let (_, may) = RULES.iter().find(|(name, _)| *name == from).ok_or(format!("there is no rule for `{from}`: add one to tests/layering.rs"))?;
    Ok(may.contains(&"*") || may.contains(&to))
}

/// Every `crate::…` of a source, as `module::Item`; what is in braces is taken apart. Comments and test modules are passed over: a comment may
/// name anything, and a test may join what it tests.
fn imports(source: &str) -> Vec<String> {
    let code: String = source.lines().map(|line| line.split("//").next().unwrap_or("").trim()).collect::<Vec<_>>().join("\n");
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or("").replace('\n', " ");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `keyway_crate::x` and the like are other words.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        expand("", &code[at + "crate::".len()..], &mut found);
    }
    found
}

/// Takes one path apart, down to the first item of its second part.
fn expand(prefix: &str, path: &str, found: &mut Vec<String>) {
    if let Some(group) = path.strip_prefix('{') {
        let (mut depth, mut begin) = (0_i32, 0);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                ',' | '}' if depth == 0 => {
                    let part = group[begin..at].trim();
                    if !part.is_empty() {
                        expand(prefix, part, found);
                    }
                    begin = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
        return;
    }
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(path.len());
    let (word, rest) = path.split_at(end);
    match rest.strip_prefix("::") {
        Some(rest) if prefix.is_empty() => expand(&format!("{word}::"), rest, found),
        _ => found.push(format!("{prefix}{word}")),
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_module_imports_what_it_should_not_know() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap();
        let module = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let name = path.file_stem().unwrap().to_str().unwrap();
        // Tests in files of their own may join what they test, as those in a module do.
        let tests = ["tests", "fake"].contains(&name) || name.ends_with("_tests") || path.iter().any(|part| part == "tests");
        if tests || ["main", "lib"].contains(&module.as_str()) {
            continue;
        }
        for item in imports(&fs::read_to_string(&file).unwrap()) {
            *seen.entry(module.clone()).or_default() += 1;
            match allowed(&module, &item) {
                Ok(true) => {}
                Ok(false) => wrong.push(format!("{}: `{module}` may not import `{item}`", path.display())),
                Err(why) => wrong.push(format!("{}: {why}", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A reader that finds nothing forbids nothing.
    assert!(seen.get("pipeline").is_some_and(|imports| *imports > 5) && seen.get("reload").is_some_and(|imports| *imports > 5), "{seen:?}");
}

#[test]
fn the_rules_are_read_as_they_are_meant() {
    let source = "
        //! Speaks of crate::deliver::Deliver.
        use crate::record::Record;
        pub(crate) use crate::settle::{
            Mark, // as in crate::run
            ledger::{Ledger, Entry},
        };
        use crate::{outcome::{Outcome, Reason}, policy};
        fn f() -> crate::plugin::Load { super::g() }
        #[cfg(test)]
        mod tests { use crate::app::App; }";
    let source: String = source.lines().map(|line| format!("{}\n", line.trim())).collect();
    let expected = ["record::Record", "settle::Mark", "settle::ledger", "outcome::Outcome", "outcome::Reason", "policy", "plugin::Load"];
    assert_eq!(imports(&source), expected);
    for (from, item, may) in [
        ("consume", "settle::Mark", true),
        ("consume", "settle::Ledger", false),
        ("deliver", "route::Table", false),
        ("deliver", "observe::Metrics", true),
        ("observe", "reload::Status", false),
        ("run", "reload::Handle", false),
        ("app", "deliver::Http", true),
        ("record", "plugin::Plugin", false),
    ] {
        assert_eq!(allowed(from, item), Ok(may), "{from} {item}");
    }
    assert!(allowed("novelty", "record::Record").is_err());
}

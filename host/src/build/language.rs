//! The languages that there are SDKs for.

use std::fmt;
use std::str::FromStr;

/// A language that plugins can be written in with an SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// Rust.
    Rust,
    /// TypeScript.
    Typescript,
    /// JavaScript.
    Javascript,
    /// Python.
    Python,
    /// Go.
    Go,
    /// C.
    C,
}

impl Language {
    /// Every language, in the order of the documentation.
    pub const ALL: [Language; 6] = [Language::Rust, Language::Typescript, Language::Javascript, Language::Python, Language::Go, Language::C];

    /// The name that `--lang` takes, which is also the folder of its example plugins.
    pub const fn name(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::Typescript => "typescript",
            Language::Javascript => "javascript",
            Language::Python => "python",
            Language::Go => "go",
            Language::C => "c",
        }
    }

    /// Its SDK's folder below `sdk/`.
    pub(super) const fn sdk(self) -> &'static str {
        match self {
            Language::Typescript | Language::Javascript => "js",
            other => other.name(),
        }
    }

    /// The file that holds the plugin, and tells the language of a project.
    pub const fn source(self) -> &'static str {
        match self {
            Language::Rust => "src/lib.rs",
            Language::Typescript => "plugin.ts",
            Language::Javascript => "plugin.js",
            Language::Python => "plugin.py",
            Language::Go => "plugin.go",
            Language::C => "plugin.c",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Language, String> {
        let found = match text {
            "ts" => Some(Language::Typescript),
            "js" => Some(Language::Javascript),
            name => Language::ALL.into_iter().find(|language| language.name() == name),
        };
        found.ok_or_else(|| format!("there is no SDK for `{text}`; there is one for {}", Language::ALL.map(Language::name).join(", ")))
    }
}

//! Whether a file is a plugin at all: decided from its bytes, before anything of it is compiled.
//!
//! Promises to say in plain words what was seen, what is accepted, and the mend for the language that made the component, where one is known.

use wasmparser::{Parser, Payload, ProducersSectionReader, Validator, WasmFeatures};
use wasmtime::Engine;

use super::bindings::{PACKAGE, VERSION};
use super::{closed, engine, inert};
use crate::plugin::{COMPONENT_MAX, Refusal, Tier};

/// Functions of a component; CPython has 12,000.
const FUNCTIONS_MAX: u32 = 100_000;
/// Bytes of one function. Compiling takes more than linear time, and memory, in the size of a function; CPython's largest is some 100 KB.
const FUNCTION_MAX: usize = 1 << 20;
/// How deep components may nest: a component, its adapter's shims, and room.
const DEPTH_MAX: usize = 8;

/// What a component's outside looks like.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outside {
    pub(super) tier: Tier,
    /// Packages among its imports that are closed.
    pub(super) closed: Vec<String>,
}

/// Checks a component's bytes.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn check(bytes: &[u8]) -> Result<Outside, Refusal> {
    check_kind(bytes)?;
    validate(bytes)?;
    look(bytes)
}

/// The outside of a component that was checked and compiled before.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn look(bytes: &[u8]) -> Result<Outside, Refusal> {
    let found = survey(bytes)?;
    let outside = check_imports(&found)?;
    check_exports(&found)?;
    Ok(outside)
}

fn validate(bytes: &[u8]) -> Result<(), Refusal> {
    // What wasmtime is configured for, as far as that can be told apart here; it has the last word when it compiles.
    let features = WasmFeatures::default()
        & !(WasmFeatures::MEMORY64 | WasmFeatures::THREADS | WasmFeatures::CM_ASYNC | WasmFeatures::GC | WasmFeatures::EXCEPTIONS);
    if let Err(error) = Validator::new_with_features(features).validate_all(bytes) {
        if error.offset() >= bytes.len() || error.message().contains("unexpected end") {
            return Err(refusal(
                "the file ends in the middle: it is truncated, or still being copied",
                "copy it under another name and rename it into place",
            ));
        }
        return Err(refusal(
            format!("not a valid component: {error}"),
            "build it again; if that does not help, its toolchain uses a feature that Keyway has not enabled",
        ));
    }
    Ok(())
}

fn check_kind(bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.is_empty() {
        return Err(refusal("the file is empty", "it may still be being copied: copy it under another name and rename it into place"));
    }
    if bytes.len() > COMPONENT_MAX {
        let (size, max) = (bytes.len() >> 20, COMPONENT_MAX >> 20);
        return Err(refusal(
            format!("the file is {size} MiB, more than the {max} MiB that a component may have"),
            "strip debug information, or leave out what the plugin does not use",
        ));
    }
    if Engine::detect_precompiled(bytes).is_some() {
        return Err(refusal(
            "the file is compiled already (`.cwasm`), and compiled code cannot be checked",
            "deploy the `.wasm` that it was made from",
        ));
    }
    if !b"\0asm".starts_with(&bytes[..bytes.len().min(4)]) {
        return Err(refusal("the file is not WebAssembly: it does not begin with `\\0asm`", "deploy the `.wasm` that the build makes"));
    }
    if Parser::is_core_wasm(bytes) {
        return Err(refusal(
            "the file is a core module, not a component",
            "make a component of it: `keyway build` does, or `wasm-tools component new`",
        ));
    }
    Ok(())
}

/// Names on a component's outside, and who made it.
#[derive(Default)]
struct Found {
    imports: Vec<String>,
    exports: Vec<String>,
    producers: Vec<String>,
}

fn survey(bytes: &[u8]) -> Result<Found, Refusal> {
    let mut found = Found::default();
    let mut depth = 0_usize;
    let (mut modules, mut functions) = (0_u32, 0_u32);
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(invalid)? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ModuleSection { .. } => modules += 1,
            Payload::CodeSectionStart { count, .. } => functions = functions.saturating_add(count),
            Payload::CodeSectionEntry(body) if body.range().len() > FUNCTION_MAX => {
                return Err(refusal(format!("one of its functions is larger than {} KiB", FUNCTION_MAX >> 10), "split it"));
            }
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    found.imports.push(import.map_err(invalid)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    found.exports.push(export.map_err(invalid)?.name.name.to_owned());
                }
            }
            Payload::CustomSection(section) if section.name() == "producers" => {
                producers(section.data(), section.data_offset(), &mut found.producers)
            }
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(refusal(format!("components nest deeper than {DEPTH_MAX}"), "compose fewer components into one"));
        }
    }
    if modules > engine::CORE_INSTANCES_MAX {
        return Err(refusal(
            format!("{modules} core modules, more than the {} that a component may have", engine::CORE_INSTANCES_MAX),
            "compose fewer components into one",
        ));
    }
    if functions > FUNCTIONS_MAX {
        return Err(refusal(
            format!("{functions} functions, more than the {FUNCTIONS_MAX} that a component may have"),
            "leave out what the plugin does not use",
        ));
    }
    Ok(found)
}

/// Gathers the names of languages and tools; only hints depend on them, so what cannot be read is passed over.
fn producers(data: &[u8], offset: usize, names: &mut Vec<String>) {
    let Ok(section) = ProducersSectionReader::new(wasmparser::BinaryReader::new(data, offset)) else { return };
    for field in section.into_iter().flatten() {
        for value in field.values.into_iter().flatten() {
            names.push(value.name.to_ascii_lowercase());
        }
    }
}

fn check_imports(found: &Found) -> Result<Outside, Refusal> {
    let mut outside = Outside { tier: Tier::Pure, closed: Vec::new() };
    let mut foreign = Vec::new();
    for import in &found.imports {
        if let Some((interface, version)) = ours(import) {
            check_version(interface, version)?;
        } else if inert::PACKAGES.iter().any(|package| import.starts_with(package)) && import.contains("@0.2.") {
            outside.tier = Tier::Inert;
        } else if let Some(package) = closed::package(import) {
            outside.tier = Tier::Inert;
            if !outside.closed.iter().any(|known| known == package) {
                outside.closed.push(package.to_owned());
            }
        } else {
            foreign.push(import.as_str());
        }
    }
    if foreign.is_empty() {
        return Ok(outside);
    }
    let (names, plural) = (list(&foreign), if foreign.len() == 1 { "" } else { "s" });
    let cause = format!("import{plural} {names}, which a plugin may not have: only `{PACKAGE}/*` and WASI 0.2");
    Err(refusal(cause, mend(&foreign, &found.producers)))
}

fn check_exports(found: &Found) -> Result<(), Refusal> {
    let required = format!("{PACKAGE}/transform");
    let mut is_plugin = false;
    for export in &found.exports {
        if let Some((interface, version)) = ours(export) {
            // What this host does not know it would never call, without a word.
            check_version(interface, version)?;
            is_plugin |= interface == "transform";
        }
    }
    if is_plugin {
        return Ok(());
    }
    let exports = match found.exports.as_slice() {
        [] => "nothing".to_owned(),
        exports => list(&exports.iter().map(String::as_str).collect::<Vec<_>>()),
    };
    let cause = format!("does not export `{required}@{VERSION}`, which is what makes a component a plugin; it exports {exports}");
    Err(refusal(cause, format!("build it for the world `{PACKAGE}/plugin@{VERSION}`; `keyway new` makes a project that does")))
}

/// Interface and version, if the name is one of the contract's.
fn ours(name: &str) -> Option<(&str, &str)> {
    let (interface, version) = name.strip_prefix(PACKAGE)?.strip_prefix('/')?.split_once('@')?;
    Some((interface, version))
}

/// Refuses names of another version of the contract than this host speaks: `wit/README.md` has the rule.
fn check_version(interface: &str, version: &str) -> Result<(), Refusal> {
    if speaks(VERSION, version) { Ok(()) } else { Err(mismatch(interface, version)) }
}

/// Whether a host that speaks one version runs plugins of another. Before 1.0 the minor numbers have to be equal, as for linking in the component model, and
/// the plugin's version may not be the newer one.
fn speaks(host: &str, plugin: &str) -> bool {
    let numbers = |version: &str| -> Option<[u64; 3]> {
        let numbers: Vec<u64> = version.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        numbers.try_into().ok()
    };
    let (Some(host), Some(plugin)) = (numbers(host), numbers(plugin)) else { return false };
    let links = if host[0] == 0 { host[..2] == plugin[..2] } else { host[0] == plugin[0] };
    links && plugin <= host
}

fn mismatch(interface: &str, version: &str) -> Refusal {
    let cause = format!("built for `{PACKAGE}/{interface}@{version}`; this host speaks {VERSION}");
    refusal(cause, "build the plugin with the SDK of this host's version, or run the host that the plugin was built for")
}

/// The mend for imports that a plugin may not have, by what they are and by the tool that made them.
///
/// Rust and C are not told apart from the rest: parts in these languages are in the components of all others.
fn mend(foreign: &[&str], producers: &[String]) -> String {
    if !foreign.iter().all(|name| name.starts_with("wasi:")) {
        return format!("build it for the world `{PACKAGE}/plugin@{VERSION}` and nothing besides, as `keyway build` does");
    }
    let made_by = |names: &[&str]| producers.iter().any(|producer| names.contains(&producer.as_str()));
    let without = if made_by(&["componentizejs", "componentize-js", "jco", "javascript"]) {
        "`jco componentize --disable all` makes a component without WASI, and so does `keyway build`"
    } else if made_by(&["component-init-transform", "componentize-py", "python"]) {
        "`componentize-py componentize --stub-wasi` makes a component without WASI, and so does `keyway build`"
    } else {
        "`keyway build` makes components without WASI"
    };
    let newer = foreign.iter().all(|name| name.contains("@0.3."));
    let what = if newer { "build it for WASI 0.2 or for none" } else { "leave out what needs them, since a plugin does nothing but compute" };
    format!("{what}: {without}")
}

/// Up to five names in backticks.
fn list(names: &[&str]) -> String {
    let mut shown: Vec<_> = names.iter().take(5).map(|name| format!("`{name}`")).collect();
    if names.len() > 5 {
        shown.push(format!("and {} more", names.len() - 5));
    }
    shown.join(", ")
}

fn invalid(error: wasmparser::BinaryReaderError) -> Refusal {
    Refusal { cause: format!("not a valid component: {error}"), hint: None }
}

fn refusal(cause: impl Into<String>, hint: impl Into<String>) -> Refusal {
    Refusal { cause: cause.into(), hint: Some(hint.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_runs_plugins_of_its_version_and_of_older_ones_that_link() {
        for (host, plugin, expected) in [
            ("0.1.0", "0.1.0", true),
            ("0.1.1", "0.1.0", true),
            ("0.1.0", "0.1.1", false),
            ("0.1.9", "0.1.10", false),
            ("0.2.0", "0.1.0", false),
            ("0.1.0", "0.2.0", false),
            ("0.1.0", "1.1.0", false),
            ("1.0.0", "0.0.0", false),
            ("1.2.0", "1.1.5", true),
            ("1.2.0", "1.3.0", false),
            ("0.1.0", "0.1.0-rc.1", false),
            ("0.1.0", "0.1", false),
        ] {
            assert_eq!(speaks(host, plugin), expected, "a host of {host} and a plugin of {plugin}");
        }
    }
}

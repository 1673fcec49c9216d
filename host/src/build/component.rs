//! A component from a core module.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{Trouble, files};

/// WASI preview 1 without a system behind it; see its source, `preview1.wat`.
const ADAPTER: &str = "sdk/go/adapter/preview1.wasm";

/// What a plugin exports besides `transform` and `about`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities {
    pub(super) replies: bool,
}

impl Abilities {
    /// The world with just these exports.
    pub(super) const fn world(self) -> &'static str {
        if self.replies { "replying-plugin" } else { "described-plugin" }
    }
}

/// Makes a component of a core module that was built with bindings for `replying-plugin`. Exports of abilities that it does not have are left out.
///
/// # Errors
/// The module imports what neither the contract nor preview 1 has, or lacks an export.
pub(super) fn encode(mut module: Vec<u8>, abilities: Abilities) -> Result<Vec<u8>, Trouble> {
    let misfit = |error: anyhow::Error| Trouble::new(format!("what the compiler made is no plugin: {error:#}"));
    let mut resolve = Resolve::default();
    let package = resolve.push_source("transform.wit", files::contract()).map_err(misfit)?;
    let world = resolve.select_world(&[package], Some(abilities.world())).map_err(misfit)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(misfit)?;
    complete(&module)
}

/// Makes a component of a core module that carries its own type.
///
/// # Errors
/// As [`encode`].
pub(super) fn complete(module: &[u8]) -> Result<Vec<u8>, Trouble> {
    let misfit = |error: anyhow::Error| Trouble::new(format!("what the compiler made is no plugin: {error:#}"));
    let encoder = ComponentEncoder::default().validate(true).module(module).map_err(misfit)?;
    encoder.adapter("wasi_snapshot_preview1", files::one(ADAPTER)).map_err(misfit)?.encode().map_err(misfit)
}

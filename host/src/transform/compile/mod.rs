//! From a component's bytes to code.
//!
//! Compiling is the one step in which a file decides how much time and memory it takes, and wasmtime promises no bound on it. So it happens in a child
//! process with limits, and what comes of it is kept under a name made of the bytes and of all that compiled code depends on.

mod bounds;
mod cache;
mod child;
mod dear;
mod image;
pub mod worker;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use wasmtime::Engine;
use wasmtime::component::Component as Compiled;

use self::bounds::HeadStarts;
use self::cache::Cache;
use self::dear::Dear;
pub(super) use self::image::Image;
use super::sandbox::Compile;
use crate::plugin::Refusal;

/// Compiles components, or finds them compiled. How many at once is for whoever asks to say.
#[derive(Debug)]
pub(super) struct Compiler {
    engine: Engine,
    how: Compile,
    cache: Option<Arc<Cache>>,
    head_starts: HeadStarts,
    dear: Arc<Dear>,
}

impl Compiler {
    /// # Errors
    /// A cache folder that cannot be made, or that others may write.
    pub(super) fn new(engine: Engine, how: Compile, cache: Option<&Path>) -> anyhow::Result<Compiler> {
        let cache = cache.map(|folder| Cache::open(folder, &engine)).transpose()?.map(Arc::new);
        Ok(Compiler { engine, how, cache, head_starts: HeadStarts::new(), dear: Arc::default() })
    }

    /// Whether compiling these bytes now spares it later: their code would be kept, and is not there yet.
    ///
    /// # Errors
    /// Compiling them took long and came to nothing, a short while ago.
    pub(super) async fn is_missing(&self, component: &Bytes) -> Result<bool, Refusal> {
        let Some(cache) = self.cache.clone() else { return Ok(false) };
        let (dear, component) = (Arc::clone(&self.dear), component.clone());
        blocking(move || dear.recall(&component).map_or_else(|| Ok(!cache.has(&component)), Err)).await
    }

    /// Code that was made of these bytes before, and kept.
    ///
    /// # Errors
    /// It panicked.
    pub(super) async fn find(&self, component: &Bytes) -> Result<Option<Image>, Refusal> {
        let Some(cache) = self.cache.clone() else { return Ok(None) };
        let (engine, component) = (self.engine.clone(), component.clone());
        blocking(move || Ok(cache.get(&component).and_then(|file| Image::mapped(&engine, &file).ok()))).await
    }

    /// Code for these bytes, which the gate has let in.
    ///
    /// # Errors
    /// The bytes cannot be compiled, or not within the limits.
    pub(super) async fn compile(&self, component: &Bytes) -> Result<Image, Refusal> {
        match &self.how {
            Compile::InProcess => {
                let (engine, component) = (self.engine.clone(), component.clone());
                blocking(move || Compiled::from_binary(&engine, &component).map(Image::compiled).map_err(uncompilable)).await
            }
            Compile::Worker(program) => {
                let began = Instant::now();
                let compiled = child::compile(program, component.clone(), self.head_starts.next()).await;
                let artifact = compiled.inspect_err(|refusal| self.dear.note(component, began.elapsed(), refusal))?;
                let (engine, cache, component) = (self.engine.clone(), self.cache.clone(), component.clone());
                blocking(move || {
                    let kept = cache.and_then(|cache| cache.put(&component, &artifact));
                    let found = kept.and_then(|file| Image::mapped(&engine, &file).ok());
                    found.map_or_else(|| Image::made(&engine, &artifact).map_err(uncompilable), Ok)
                })
                .await
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Refusal { cause: format!("the compiler panicked: {error}"), hint: None }),
    }
}

fn uncompilable(error: impl std::fmt::Display) -> Refusal {
    Refusal {
        cause: format!("cannot be compiled: {error:#}"),
        hint: Some("its toolchain uses a feature that Keyway has not enabled, or the file is damaged".to_owned()),
    }
}

#[cfg(test)]
mod tests;

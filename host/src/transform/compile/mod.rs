//! From a component's bytes to code.
//!
//! Compiling is the one step in which a file decides how much time and memory it takes, and wasmtime promises no bound on it. So it happens in a child
//! process with limits, and what comes of it is kept under a name made of the bytes and of all that compiled code depends on.

mod bounds;
mod cache;
mod child;
mod image;
pub mod worker;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Component as Compiled;

use self::bounds::HeadStarts;
use self::cache::Cache;
pub(super) use self::image::Image;
use super::sandbox::Compile;
use crate::plugin::Refusal;

/// Components that are compiled at once, at most: each takes a core and up to some hundred megabytes.
const AT_ONCE_MAX: usize = 4;

/// Compiles components, or finds them compiled.
#[derive(Debug)]
pub(super) struct Compiler {
    engine: Engine,
    how: Compile,
    cache: Option<Arc<Cache>>,
    turns: Semaphore,
    head_starts: HeadStarts,
}

impl Compiler {
    /// # Errors
    /// A cache folder that cannot be made, or that others may write.
    pub(super) fn new(engine: Engine, how: Compile, cache: Option<&Path>) -> anyhow::Result<Compiler> {
        let cache = cache.map(|folder| Cache::open(folder, &engine)).transpose()?.map(Arc::new);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        Ok(Compiler { engine, how, cache, turns: Semaphore::new(cores.min(AT_ONCE_MAX)), head_starts: HeadStarts::new() })
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
        // Bounded by the compilations ahead, each of which has its own limit of time. Nobody closes the semaphore.
        let _turn = self.turns.acquire().await;
        match &self.how {
            Compile::InProcess => {
                let (engine, component) = (self.engine.clone(), component.clone());
                blocking(move || Compiled::from_binary(&engine, &component).map(Image::compiled).map_err(uncompilable)).await
            }
            Compile::Worker(program) => {
                let artifact = child::compile(program, component.clone(), self.head_starts.next()).await?;
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

//! From a component's bytes to code.

use std::path::Path;

use bytes::Bytes;
use wasmtime::Engine;
use wasmtime::component::Component as Compiled;

use super::sandbox::Compile;
use crate::plugin::Refusal;

#[derive(Debug)]
pub(super) struct Compiler {
    engine: Engine,
}

impl Compiler {
    pub(super) fn new(engine: Engine, _compile: &Compile, _cache: Option<&Path>) -> anyhow::Result<Compiler> {
        Ok(Compiler { engine })
    }

    pub(super) async fn compile(&self, component: &Bytes) -> Result<Compiled, Refusal> {
        let (engine, bytes) = (self.engine.clone(), component.clone());
        let compiled = tokio::task::spawn_blocking(move || Compiled::from_binary(&engine, &bytes)).await;
        match compiled {
            Ok(Ok(compiled)) => Ok(compiled),
            Ok(Err(error)) => Err(Refusal { cause: format!("cannot be compiled: {error:#}"), hint: None }),
            Err(error) => Err(Refusal { cause: format!("the compiler panicked: {error}"), hint: None }),
        }
    }
}

//! WASI's network, closed: interfaces that a component may import and behind which there is nothing, not even an error code.
//!
//! Promises that a component which only has them on its outside runs as any other, and that a call of any of their functions is a fault that
//! names the function and says what to do instead. No code that could open a socket is linked: each function is made of its name alone.

use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component as Compiled, Linker, ResourceType};

use super::state::State;
use crate::plugin::Refusal;

/// Packages whose interfaces are closed.
const PACKAGES: [&str; 2] = ["wasi:sockets", "wasi:http"];
/// Functions and types of imported interfaces in one component. WASI 0.2 has about 300 in all; a component made to take long has any number.
const ITEMS_MAX: usize = 2_000;

/// The closed package that an import belongs to, if it does to one.
pub(super) fn package(import: &str) -> Option<&'static str> {
    let (package, interface) = import.split_once('/')?;
    PACKAGES.into_iter().find(|closed| *closed == package && interface.contains("@0.2."))
}

/// Stands for the resources of closed interfaces, of which there is never one: all functions that would make one fault.
struct Nothing;

/// Links every closed interface that this component imports, in the shape in which it imports it.
///
/// # Errors
/// More functions and types than any known component has, or two of one name.
pub(super) fn link(linker: &mut Linker<State>, engine: &Engine, compiled: &Compiled) -> Result<(), Refusal> {
    let refused = |error: wasmtime::Error| Refusal { cause: format!("does not fit WASI 0.2: {error:#}"), hint: None };
    let outside = compiled.component_type();
    // Resource types of the interfaces so far. A later interface that uses one of them has it as it is, and may not be given another.
    let mut resources: Vec<ResourceType> = Vec::new();
    let mut items = 0;
    for (import, item) in outside.imports(engine) {
        let ComponentItem::ComponentInstance(interface) = item.ty else { continue };
        let mut linked = if package(import).is_some() { Some(linker.instance(import).map_err(refused)?) } else { None };
        items += interface.exports(engine).len();
        if items > ITEMS_MAX {
            let cause = format!("its imports have more than {ITEMS_MAX} functions and types");
            return Err(Refusal { cause, hint: Some("import only what the plugin uses".to_owned()) });
        }
        for (name, item) in interface.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let Some(linked) = &mut linked else { continue };
                    let called = format!("called `{import}#{name}`: plugins have no network; return requests, and the host sends them");
                    linked.func_new(name, move |_, _, _, _| Err(wasmtime::Error::msg(called.clone()))).map_err(refused)?;
                }
                ComponentItem::Resource(resource) if !resources.contains(&resource) => {
                    resources.push(resource);
                    let Some(linked) = &mut linked else { continue };
                    linked.resource(name, ResourceType::host::<Nothing>(), |_, _| Ok(())).map_err(refused)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

//! Guests made of a few lines of WebAssembly text, so that each shows what it does and needs no toolchain.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A core module for the world `plugin`; what is not given is harmless.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Body of `transform`, which leaves a pointer to the verdict. Parameters are `$topic $topic_len $partition $offset $has_ts $ts
    /// $has_key $key $key_len $headers $headers_len $has_payload $payload $payload_len $attributes $attributes_len`; `$i` and `$p` are free.
    pub transform: String,
    /// Body of `cabi_realloc (param $old $old_size $align $size)`.
    pub realloc: String,
    /// Body of the post-return function, if there is to be one.
    pub post: String,
    /// Imports of the module.
    pub imports: &'static str,
    /// Further fields of the module.
    pub fields: String,
    /// Custom sections of the module, by name.
    pub sections: Vec<(&'static str, Vec<u8>)>,
    /// Pages of memory at the start.
    pub pages: u32,
    /// Name of the world, and the package that defines it if it is none of the contract's.
    pub world: &'static str,
    /// See `world`.
    pub wit: Option<&'static str>,
}

impl Default for Guest {
    fn default() -> Guest {
        Guest {
            transform: SKIP.to_owned(),
            realloc: BUMP.to_owned(),
            post: String::new(),
            imports: "",
            fields: String::new(),
            sections: Vec::new(),
            pages: 8,
            world: "plugin",
            wit: None,
        }
    }
}

/// A verdict at address 64: `skip("ok")`.
pub const SKIP: &str = r"
    (i32.store8 (i32.const 64) (i32.const 1))
    (i32.store (i32.const 68) (i32.const 16))
    (i32.store (i32.const 72) (i32.const 2))
    (i32.const 64)";

/// A verdict at address 64 with one request at 128: `POST /x` to `d`, its body the payload.
pub const ECHO: &str = r"
    (i32.store8 (i32.const 64) (i32.const 0))
    (i32.store (i32.const 68) (i32.const 128))
    (i32.store (i32.const 72) (i32.const 1))
    (i32.store (i32.const 128) (i32.const 18)) (i32.store (i32.const 132) (i32.const 1))
    (i32.store (i32.const 136) (i32.const 20)) (i32.store (i32.const 140) (i32.const 4))
    (i32.store (i32.const 144) (i32.const 24)) (i32.store (i32.const 148) (i32.const 2))
    (i32.store (i32.const 152) (i32.const 0)) (i32.store (i32.const 156) (i32.const 0))
    (i32.store8 (i32.const 160) (local.get $has_payload))
    (i32.store8 (i32.const 164) (i32.const 0))
    (i32.store (i32.const 168) (local.get $payload)) (i32.store (i32.const 172) (local.get $payload_len))
    (i32.store (i32.const 176) (i32.const 0)) (i32.store (i32.const 180) (i32.const 0))
    (i32.const 64)";

/// An allocator that never frees.
const BUMP: &str = r"
    (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (global.get $next)
    (global.set $next (i32.add (global.get $next) (local.get $size)))";

/// A loop without end.
pub const FOREVER: &str = "(loop $again (br $again))";

impl Guest {
    /// With this body of `transform`.
    pub fn transform(body: &str) -> Guest {
        Guest { transform: body.to_owned(), ..Guest::default() }
    }

    /// The core module.
    ///
    /// # Panics
    /// When its text is no WebAssembly.
    pub fn module(&self) -> Vec<u8> {
        let Guest { transform, realloc, post, imports, fields, pages, .. } = self;
        let post = if post.is_empty() {
            String::new()
        } else {
            format!(r#"(func (export "cabi_post_keyway:transform/transform@0.1.0#transform") (param i32) {post})"#)
        };
        let text = format!(
            r#"(module
            {imports}
            (memory (export "memory") {pages})
            (global $next (mut i32) (i32.const 4096))
            (data (i32.const 16) "ok")
            (data (i32.const 18) "d")
            (data (i32.const 20) "POST/x")
            (func $realloc (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32) {realloc})
            (func (export "keyway:transform/transform@0.1.0#transform")
                (param $topic i32) (param $topic_len i32) (param $partition i32) (param $offset i64) (param $has_ts i32) (param $ts i64)
                (param $has_key i32) (param $key i32) (param $key_len i32) (param $headers i32) (param $headers_len i32)
                (param $has_payload i32) (param $payload i32) (param $payload_len i32) (param $attributes i32) (param $attributes_len i32)
                (result i32) (local $i i32) (local $p i32) {transform})
            {post}
            {fields})"#
        );
        let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"));
        for (name, data) in &self.sections {
            module.push(0);
            leb128(name.len() + 1 + data.len(), &mut module);
            leb128(name.len(), &mut module);
            module.extend(name.bytes());
            module.extend(data);
        }
        module
    }

    /// The component.
    ///
    /// # Panics
    /// When it does not fit its world.
    pub fn component(&self) -> Vec<u8> {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/0.1.0")).expect("a guest that is whole");
        let package = match self.wit {
            Some(wit) => resolve.push_str("test.wit", wit).expect("a guest that is whole"),
            None => package,
        };
        let world = resolve.select_world(&[package], Some(self.world)).expect("a guest that is whole");
        let mut module = self.module();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a guest that is whole");
        ComponentEncoder::default().module(&module).expect("a guest that is whole").validate(true).encode().expect("a guest that is whole")
    }
}

/// A number as WebAssembly writes it.
pub(crate) fn leb128(mut number: usize, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

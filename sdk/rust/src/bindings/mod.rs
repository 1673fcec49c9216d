//! What wit-bindgen made of the contract, kept in the tree so that no plugin has to build the generator.
//! `scripts/generated --write rust` writes it anew, and says with `--check` whether it is as it should be.
#![expect(unreachable_pub, unsafe_code, clippy::allow_attributes_without_reason, clippy::unwrap_used, reason = "generated")]

pub mod described;
pub mod replies;

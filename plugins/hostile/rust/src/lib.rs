//! Guests that attack the host, one behaviour each, for the tests of the sandbox. Each is a file in `examples/`, claims the keys `hostile-NAME:*`, and
//! says in its first line which defence it is for. `scripts/build-guests` puts them into `plugins/built/hostile/`.
//!
//! What needs instructions that Rust does not write (loops in `start`, in `cabi_realloc` or in post-return, floods of handles) is in the host's own tests.

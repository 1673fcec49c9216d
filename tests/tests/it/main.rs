//! All end-to-end tests, in one binary: the broker is started once.

mod bridge;
mod harness;
mod letters;

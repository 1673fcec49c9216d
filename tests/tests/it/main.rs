//! All end-to-end tests, in one binary: the broker is started once.

mod bridge;
mod chaos;
mod harness;
mod letters;
mod replies;

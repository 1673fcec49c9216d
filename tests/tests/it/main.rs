//! All end-to-end tests but one, in one binary: the broker is started once. The one that would keep the others from the processors for minutes is
//! `chaos`, beside it.

mod batches;
mod bridge;
mod harness;
mod letters;
mod replies;

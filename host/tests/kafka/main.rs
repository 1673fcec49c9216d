//! What the host does with Kafka, on a real one. One binary, so that the broker is started once.

mod consume;
mod settle;

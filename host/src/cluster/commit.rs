//! Commits that are waited for, but not for ever.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// Commits and waits for Kafka's word. librdkafka's own call has no deadline, so it runs on a thread of its own. Blocks.
///
/// # Errors
/// There is no thread for it, or no answer came in time; what becomes of the commit is not known then. In words that complete "commit …: ".
pub fn commit_within<T: Send + 'static>(deadline: Duration, commit: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (done, finished) = sync_channel(1);
    std::thread::Builder::new()
        .name("keyway-commit".into())
        .spawn(move || {
            // Nobody listens any more when the deadline has passed.
            let _ = done.send(commit());
        })
        .map_err(|error| format!("no thread for it: {error}"))?;
    finished.recv_timeout(deadline).map_err(|_| format!("no answer within {deadline:?}"))
}

/// Whether the broker takes less metadata with a commit (`offset.metadata.max.bytes`).
pub fn is_metadata_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::OffsetMetadataTooLarge)
}

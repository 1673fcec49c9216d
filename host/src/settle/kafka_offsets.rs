//! Marks as Kafka's list of offsets. The only place that turns one into the other.

use rdkafka::{Offset, TopicPartitionList};

use super::Mark;

/// The list that commits these marks. [`super::NextOffset`] is what Kafka commits, so nothing is added to it.
pub fn offsets(marks: &[Mark]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(marks.len());
    for mark in marks {
        let mut element = list.add_partition(&mark.assignment.topic, mark.assignment.partition);
        if let Err(error) = element.set_offset(Offset::Offset(mark.next.0)) {
            // Only a negative offset is refused, which no ledger holds; committing an element without an offset is a no-op for Kafka.
            tracing::error!(topic = &*mark.assignment.topic, partition = mark.assignment.partition, %error, "a watermark is not an offset");
        }
        // Set once: a second call would leak the first buffer.
        if !mark.metadata.is_empty() {
            element.set_metadata(&mark.metadata);
        }
    }
    list
}

/// Where marks are committed: a handle to the consumer, without the consumer.
pub trait Offsets: Send + Sync + 'static {
    /// Puts a commit of these marks on its way, and does not wait. Marks of stays that have ended are left out: they belong to another host now.
    ///
    /// # Errors
    /// The commit did not even get on its way, in words for the log.
    fn commit(&self, marks: Vec<Mark>) -> Result<(), String>;
}

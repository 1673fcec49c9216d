//! What librdkafka says: its log, its errors, and whether it reaches a broker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// Brings librdkafka's log and errors into the host's, and keeps the last error for whoever has to explain a missing answer.
#[derive(Debug, Default)]
pub struct ClientLog {
    last: Mutex<Option<String>>,
    reach: Reach,
}

/// Whether a client reaches a broker.
#[derive(Debug, Clone, Default)]
pub struct Reach(Arc<Mutex<Option<String>>>);

impl Reach {
    /// Why it reaches none, if it does not.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.0).clone()
    }
}

/// Words are whole after a panic too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientLog {
    /// The last error that a broker or the network caused, in librdkafka's words.
    pub fn last_error(&self) -> Option<String> {
        lock(&self.last).clone()
    }

    /// Tells from now on whether a broker can be reached.
    pub fn reach(&self) -> Reach {
        self.reach.clone()
    }

    /// A broker answers.
    pub fn reached(&self) {
        *lock(&self.reach.0) = None;
    }

    /// Keeps and logs an error. Levels go by consequence: what librdkafka tries again by itself is a warning.
    pub fn report(&self, error: &KafkaError, reason: &str) {
        // "All brokers are down" says less than what came before it, and comes twenty times a second.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            tracing::debug!(reason, "no broker can be reached; librdkafka goes on trying");
            *lock(&self.reach.0) = Some(format!("no broker can be reached: {}", self.last_error().as_deref().unwrap_or(reason)));
            return;
        }
        *lock(&self.last) = Some(reason.to_owned());
        match error.rdkafka_error_code() {
            Some(code) if needs_a_person(code) => tracing::error!(%code, reason, "Kafka refuses this host"),
            Some(code) => tracing::warn!(%code, reason, "Kafka cannot be reached as it should; librdkafka goes on trying"),
            None => tracing::warn!(%error, reason, "Kafka client error"),
        }
    }
}

/// Librdkafka's name for its line about a failed commit.
pub const COMMIT_FAILED: &str = "COMMITFAIL";

/// Errors that time does not mend.
fn needs_a_person(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::Fatal
    )
}

impl ClientContext for ClientLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            // The consumer is told of each failed commit as well, and counts them; in a rebalance there are twenty a second.
            _ if facility == COMMIT_FAILED => tracing::debug!(target: "librdkafka", facility, "{line}"),
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{line}");
            }
            // Failed connections come at this level and again as an error event, which says more.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{line}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, "{line}"),
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.report(&error, reason);
    }
}

impl ConsumerContext for ClientLog {}

impl AsRef<ClientLog> for ClientLog {
    fn as_ref(&self) -> &ClientLog {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_why_no_broker_can_be_reached_until_one_answers() {
        let log = ClientLog::default();
        let reach = log.reach();
        log.report(&KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "kafka:9092: connection refused");
        assert_eq!(reach.trouble(), None, "one of several brokers");
        log.report(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(reach.trouble().as_deref(), Some("no broker can be reached: kafka:9092: connection refused"));
        log.reached();
        assert_eq!(reach.trouble(), None);
    }
}

//! Short ways to a record's parts.

use crate::Message;

impl Message {
    /// The key, or an empty text when the record has none that is UTF-8.
    pub fn key_text(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }

    /// The last header of this name, if its value is UTF-8. Names are compared as they are; Kafka's have no rule of case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rfind(|(header, _)| header == name)?;
        std::str::from_utf8(value).ok()
    }

    /// Whether the record has no payload at all, which in a compacted topic says that the key is deleted.
    pub fn is_tombstone(&self) -> bool {
        self.payload.is_none()
    }
}

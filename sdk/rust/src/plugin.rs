//! What the attributes write calls to; not for plugins.

use crate::log::{self, Level};

/// What `keys = …` takes.
pub trait Keys {
    /// The patterns.
    fn into_keys(self) -> Vec<String>;
}

impl Keys for &str {
    fn into_keys(self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl<const N: usize> Keys for [&str; N] {
    fn into_keys(self) -> Vec<String> {
        self.map(str::to_owned).into()
    }
}

/// Begins a call. A panic ends in a trap, of which the host knows the place in the code but not the words, so they go to the log first.
pub fn begin() {
    std::panic::set_hook(Box::new(|panic| {
        let words = panic.payload_as_str().unwrap_or("a panic without words");
        match panic.location() {
            Some(place) => log::write(Level::Error, format_args!("panicked at {place}: {words}")),
            None => log::write(Level::Error, format_args!("panicked: {words}")),
        }
    }));
}

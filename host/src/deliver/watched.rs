//! A value made of files, and that follows them: a secret, or a client with its certificates.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::policy::{Secret, SecretPart, SecretText};

/// How often the files are looked at. A file that was replaced is in use a second later; looking costs a system call a file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Counts the states of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(pub(super) u64);

type Make<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

pub(super) struct Watched<T> {
    /// What the files hold, for the log.
    what: &'static str,
    files: Vec<PathBuf>,
    make: Make<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: T,
    generation: Generation,
    /// What the files looked like when they were read.
    seen: Vec<Look>,
    looked: Instant,
}

/// Time of the last change and length of a file; none if it is not there.
type Look = Option<(SystemTime, u64)>;

impl<T: Clone> Watched<T> {
    /// Reads the secret and makes the value.
    ///
    /// # Errors
    /// A file that cannot be read, or a secret of which the value cannot be made.
    pub(super) fn secret(text: &SecretText, make: impl Fn(&Secret) -> Result<T, String> + Send + Sync + 'static) -> Result<Watched<T>, String> {
        let file = |part: &SecretPart| match part {
            SecretPart::File(path) => Some(path.clone()),
            SecretPart::Known(_) => None,
        };
        let files = text.parts.iter().filter_map(file).collect();
        let text = text.clone();
        Watched::new("secret", files, move || make(&text.resolve()?).map_err(|error| format!("the secret {error}")))
    }

    /// Makes the value, of which these files are a part.
    ///
    /// # Errors
    /// What keeps it from being made.
    pub(super) fn new(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Watched<T>, String> {
        // Looked at before they are read: a change in between is then seen the next time.
        let seen = look(&files);
        let state = State { value: make()?, generation: Generation(1), seen, looked: Instant::now() };
        Ok(Watched { what, files, make: Box::new(make), state: Mutex::new(state) })
    }

    /// The value as it is now.
    pub(super) fn get(&self) -> (Generation, T) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.files.is_empty() && state.looked.elapsed() >= LOOK_EVERY {
            self.refresh(&mut state);
        }
        (state.generation, state.value.clone())
    }

    /// Looks at the files whatever the time, and says which state of the value there is now.
    pub(super) fn reread(&self) -> Generation {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh(&mut state);
        state.generation
    }

    fn refresh(&self, state: &mut State<T>) {
        state.looked = Instant::now();
        let seen = look(&self.files);
        if seen == state.seen {
            return;
        }
        match (self.make)() {
            Ok(value) => {
                state.value = value;
                state.generation.0 += 1;
                state.seen = seen;
                tracing::info!(files = ?self.files, "read a changed {}", self.what);
            }
            // Half-written, or between two: the value before may still serve, and the next look sees the rest.
            Err(error) => tracing::warn!(files = ?self.files, "a changed {} cannot be used, and the one before stays: {error}", self.what),
        }
    }
}

fn look(files: &[PathBuf]) -> Vec<Look> {
    files
        .iter()
        .map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
        .collect()
}

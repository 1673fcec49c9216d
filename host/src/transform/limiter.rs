//! Memory of one call: every linear memory and table of the store against one limit.
//!
//! wasmtime's own `StoreLimits` bounds each memory and each table by itself, so a component of eight modules would get eight times its limit.

use wasmtime::ResourceLimiter;

/// Bytes that an element of a table takes.
const TABLE_ELEMENT: usize = size_of::<usize>();

/// Counts what a store's memories and tables take together.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: usize,
    used: usize,
    denied: bool,
}

impl Limiter {
    /// A limiter for one store, in bytes.
    pub(super) fn new(limit: usize) -> Limiter {
        Limiter { limit, used: 0, denied: false }
    }

    /// Bytes in use. Neither memories nor tables shrink, so this is the peak too.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Whether a growth was denied. A guest may live with that; when it traps, this is why.
    pub(super) fn denied(&self) -> bool {
        self.denied
    }

    /// Forgets a denial, between the calls of a kept instance.
    pub(super) fn begin_call(&mut self) {
        self.denied = false;
    }

    fn grow(&mut self, by: usize) -> bool {
        let wanted = self.used.saturating_add(by);
        if wanted > self.limit {
            self.denied = true;
            return false;
        }
        self.used = wanted;
        true
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // A growth beyond the module's own maximum fails whatever is said here, and must not be counted.
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.denied |= desired > self.limit;
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            self.denied |= desired.saturating_mul(TABLE_ELEMENT) > self.limit;
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT)))
    }

    fn instances(&self) -> usize {
        super::engine::CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        super::engine::TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        super::engine::MEMORIES_MAX as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut limiter = Limiter::new(1000);
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.memory_growing(0, 400, None).unwrap(), "a second memory");
        assert!(limiter.table_growing(0, 25, None).unwrap());
        assert_eq!(limiter.used(), 1000);
        assert!(!limiter.denied());
        assert!(!limiter.table_growing(25, 26, None).unwrap());
        assert!(limiter.denied());
        assert_eq!(limiter.used(), 1000, "what is denied is not counted");
    }

    #[test]
    fn a_growth_beyond_the_modules_own_maximum_is_the_modules_affair() {
        let mut limiter = Limiter::new(1000);
        assert!(!limiter.memory_growing(0, 500, Some(400)).unwrap());
        assert!(!limiter.denied());
        assert_eq!(limiter.used(), 0);
    }
}

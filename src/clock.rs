//! The only clock. Tests replace it.

use jiff::{Timestamp, Unit};
use std::fmt;
use std::sync::Arc;

/// Tells the time to the millisecond, which is the precision of the history.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The clock of this machine.
    #[allow(clippy::disallowed_methods)]
    pub fn system() -> Self {
        Self::from_fn(Timestamp::now)
    }

    /// A clock that calls this function.
    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        let now = (self.0)();
        now.round(Unit::Millisecond).unwrap_or(now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

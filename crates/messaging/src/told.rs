//! A failure that comes again and again is a warning once, until it is another one or is over.

#[derive(Debug, Default)]
pub(crate) struct Told {
    failure: &'static str,
    error: String,
}

impl Told {
    pub(crate) fn tell(&mut self, failure: &'static str, error: String) {
        if (self.failure, &self.error) == (failure, &error) {
            tracing::debug!(error, "{failure}, again");
        } else {
            tracing::warn!(error, "{failure}");
            *self = Self { failure, error };
        }
    }

    pub(crate) fn is_told(&self) -> bool {
        !self.failure.is_empty()
    }

    pub(crate) fn is_over(&mut self) {
        *self = Self::default();
    }
}

//! What handlers work with, and what of a request goes on with its events.

use std::sync::Arc;

use axum::extract::FromRef;
use clap::Args;
use db::Db;
use messaging::{Metadata, Outbox};
use web::Trace;

/// The database, its outbox, and the domain's own options `O`.
pub struct Context<O = NoOptions> {
    pub db: Db,
    pub outbox: Outbox,
    pub options: Arc<O>,
}

/// Of a domain that has none.
#[derive(Debug, Clone, Default, Args)]
pub struct NoOptions {}

impl<O> Context<O> {
    pub(crate) fn new(db: &Db, options: &Arc<O>) -> Self {
        Self {
            db: db.clone(),
            outbox: Outbox::new(db),
            options: Arc::clone(options),
        }
    }
}

// Not derived: that would ask for options that can be cloned.
impl<O> Clone for Context<O> {
    fn clone(&self) -> Self {
        Self {
            db: self.db.clone(),
            outbox: self.outbox.clone(),
            options: Arc::clone(&self.options),
        }
    }
}

impl<O> FromRef<Context<O>> for Db {
    fn from_ref(context: &Context<O>) -> Self {
        context.db.clone()
    }
}

/// Of an event that a request causes: its trace goes on with the event.
pub fn metadata(trace: Trace) -> Metadata {
    Metadata {
        traceparent: trace.parent,
        tracestate: trace.state,
        ..Metadata::now()
    }
}

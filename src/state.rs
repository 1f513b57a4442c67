//! What the handlers share.

use std::sync::Arc;

use axum::extract::FromRef;

use crate::{auth::Authenticator, db::Db, http::Health};

#[derive(Clone, FromRef)]
pub struct AppState {
    pub db: Db,
    pub auth: Arc<Authenticator>,
    pub health: Health,
}

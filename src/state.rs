//! What the handlers share.

use std::sync::Arc;

use axum::extract::FromRef;
use db::Db;

use crate::{auth::Authenticator, http::Health};

#[derive(Clone, FromRef)]
pub struct AppState {
    pub db: Db,
    pub auth: Arc<Authenticator>,
    pub health: Health,
}

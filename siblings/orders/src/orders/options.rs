//! The settings of this domain, besides those of every service.

use clap::Args;
use db::setting::wants;

/// The domain's own settings.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Active orders of one user; one more is refused with 409 until another is cancelled.
    #[arg(long, env, value_name = "MAX_ACTIVE_ORDERS", default_value = "10",
          value_parser = wants("a whole number from 1 to 1000", |it: &u32| (1..=1_000).contains(it)))]
    pub max_active_orders: u32,
}

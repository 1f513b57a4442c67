//! A NATS server of a test's own, whose configuration is changed while it runs.

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use testbed::{Nats, eventually, mongo_uri};

use crate::toy::Place;

pub(crate) struct Configured {
    pub(crate) nats: Nats,
    config: PathBuf,
    _folder: TempDir,
}

impl Configured {
    pub(crate) async fn start(config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("nats.conf");
        fs::write(&path, config).unwrap();
        let mut nats = Nats::absent();
        nats.args = vec!["--config".into(), path.clone().into()];
        nats.start().await;
        Self {
            nats,
            config: path,
            _folder: folder,
        }
    }

    /// Who may publish what: each user's name, which is the password too, and what is denied.
    pub(crate) async fn with_users(users: &[(&str, &str)]) -> Self {
        Self::start(&config(users)).await
    }

    pub(crate) async fn change_users(&self, users: &[(&str, &str)]) {
        self.change(&config(users)).await;
    }

    pub(crate) async fn change(&self, config: &str) {
        let node = &self.nats.nodes[0];
        let reloaded = || node.log().matches("Reloaded server configuration").count();
        let before = reloaded();
        fs::write(&self.config, config).unwrap();
        node.signal("-HUP");
        eventually("it is reloaded", async || reloaded() > before).await;
    }

    pub(crate) fn place(&self, user: &str) -> Place {
        let url = self.nats.url().replace("//", &format!("//{user}:{user}@"));
        Place::at(&mongo_uri(), &url)
    }

    /// The same place as another user.
    pub(crate) fn place_of(&self, user: &str, place: &Place) -> Place {
        let mut other = place.clone();
        other.nats_url = self.place(user).nats_url.clone();
        other
    }
}

fn config(users: &[(&str, &str)]) -> String {
    let user = |(name, denied): &(&str, &str)| {
        format!(
            "{{ user: {name}, password: {name}, permissions: {{ publish: {{ deny: [{denied}] }} }} }}"
        )
    };
    let users: Vec<_> = users.iter().map(user).collect();
    format!("authorization {{ users: [ {} ] }}", users.join(", "))
}

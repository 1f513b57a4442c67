//! Whether requests can be served, and if not, why, in a sentence for those who run the service.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bson::{Bson, Document, doc};
use mongodb::results::UpdateResult;
use parking_lot::Mutex;

use crate::{Db, LEASES, error::is_answer, owner::OWNER};

/// A majority that is so far behind does not answer.
const BEHIND: Duration = Duration::from_secs(3);

/// What our user has to be allowed to, by collection; the empty name is all of them.
#[derive(Debug, Default)]
pub(crate) struct Needs(Mutex<BTreeMap<String, Vec<&'static str>>>);

impl Needs {
    fn first_missing(&self, status: &Document, database: &str) -> Option<String> {
        let info = status.get_document("authInfo").ok()?;
        // Where nobody has to say who he is, everything is allowed.
        let users = info.get_array("authenticatedUsers").ok()?;
        let user = users.first()?.as_document()?.get_str("user").ok()?;
        let privileges = info.get_array("authenticatedUserPrivileges").ok()?;
        let allows = |collection: &str, action: &str| {
            let mut privileges = privileges.iter().filter_map(|it| it.as_document());
            privileges.any(|it| covers(it, database, collection) && has(it, action))
        };
        let needs = self.0.lock();
        let all = needs
            .iter()
            .flat_map(|(name, actions)| actions.iter().map(move |action| (name, action)));
        let (collection, action) = all
            .clone()
            .find(|(collection, action)| !allows(collection, action))?;
        let place = [database, collection].join(if collection.is_empty() { "" } else { "." });
        Some(format!(
            "MongoDB's user {user} lacks the privilege {action} on {place}"
        ))
    }
}

fn has(privilege: &Document, action: &str) -> bool {
    let actions = privilege.get_array("actions");
    let is_it = |it: &Bson| {
        it.as_str()
            .is_some_and(|it| it == action || it == "anyAction")
    };
    actions.is_ok_and(|actions| actions.iter().any(is_it))
}

fn covers(privilege: &Document, database: &str, collection: &str) -> bool {
    let Ok(resource) = privilege.get_document("resource") else {
        return false;
    };
    // An empty name stands for all.
    let is = |field, name| {
        resource
            .get_str(field)
            .is_ok_and(|it| it.is_empty() || it == name)
    };
    resource.get_bool("anyResource").unwrap_or(false)
        || (is("db", database) && is("collection", collection))
}

impl Db {
    /// Says what our user has to be allowed to in a collection, or with an empty name in all of them.
    pub fn need(&self, collection: &str, actions: &[&'static str]) {
        let mut needs = self.0.needs.0.lock();
        let known = needs.entry(collection.to_owned()).or_default();
        for action in actions {
            if !known.contains(action) {
                known.push(action);
            }
        }
    }

    /// Says why collections and indexes are not there.
    pub fn note_why_unprepared(&self, why: String) {
        *self.0.unprepared.lock() = why;
    }

    /// Looks whether requests can be served: MongoDB answers within `limit`, it answers transactions, our user may do what has to be
    /// done, and collections and indexes are there.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self, limit: Duration) -> Result<(), String> {
        for access in [&self.0.access, &self.0.access_of_requests] {
            if let Some(refusal) = access.refusal() {
                return Err(self.explain(&refusal));
            }
        }
        let number = self.0.access.number();
        let status = self
            .ask_status(limit)
            .await
            .map_err(|error| self.explain(&error))?;
        if let Some(status) = status {
            let logged_in = self.0.access.heed_status(&status, number);
            logged_in.map_err(|error| self.explain(&error))?;
            let database = self.database();
            if let Some(missing) = self.0.needs.first_missing(&status, database.name()) {
                return Err(missing);
            }
        }
        if let Some(count) = self.reads_hang(limit).await {
            return Err(format!(
                "MongoDB has answered none of the last {count} reads of requests: their connections hang"
            ));
        }
        if let Some(time) = self.0.writes.stalled_for()
            && !self.answers_a_write(limit).await
        {
            return Err(self.why_writes_stall(time, limit).await);
        }
        if let Some(why) = self.0.writes.why_they_hang() {
            return Err(why);
        }
        if !self.is_prepared() {
            let why = self.0.unprepared.lock();
            return Err(format!("collections and indexes are not made yet{why}"));
        }
        Ok(())
    }

    /// Who we are and what we may. `None` where it is not told, as by some proxies.
    async fn ask_status(&self, limit: Duration) -> mongodb::error::Result<Option<Document>> {
        let database = self.database();
        let ask = async move {
            database.run_command(doc! { "ping": 1 }).await?;
            let status = doc! { "connectionStatus": 1, "showPrivileges": true };
            match database.run_command(status).await {
                Ok(status) => Ok(Some(status)),
                Err(error) if is_answer(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        self.bounded(limit, ask).await
    }

    /// One transaction may hang by itself, on a connection that is lost: a write that changes nothing tells. It is asked for once at a time.
    async fn answers_a_write(&self, limit: Duration) -> bool {
        let Ok(alone) = Arc::clone(&self.0.writes.probed).try_lock_owned() else {
            return false;
        };
        let probe = self.clone().probe();
        let probe = async move {
            let answered = probe.await;
            drop(alone);
            answered
        };
        self.bounded(limit, probe).await.is_ok()
    }

    /// Writes what is there already.
    pub(crate) async fn probe(self) -> mongodb::error::Result<UpdateResult> {
        let leases = self.collection::<Document>(LEASES);
        let same = doc! { "$set": { "name": &*self.0.service } };
        // Where the database has become another's, nothing is changed either.
        let ours = doc! { "_id": OWNER, "name": &*self.0.service };
        let answered = leases.update_one(ours, same).await?;
        self.0.writes.another_is_answered();
        Ok(answered)
    }

    /// A sentence for people.
    pub(crate) async fn why_writes_stall(&self, time: Duration, limit: Duration) -> String {
        let database = self.database();
        let hello = async move { database.run_command(doc! { "hello": 1 }).await };
        let seconds = time.as_secs();
        let why = match self.bounded(limit, hello).await {
            Ok(hello) if majority_is_behind(&hello).unwrap_or(false) => {
                "a majority of its members does not confirm them"
            }
            Ok(_) => "is it locked (fsyncLock), or its disk full?",
            Err(_) => "it does not answer",
        };
        format!("MongoDB has answered no write for {seconds} s: {why}")
    }
}

/// Whether it lacks something that the primary wrote some time ago. A primary that is alone waits for nobody else: it can't write
/// down what it does not confirm.
fn majority_is_behind(hello: &Document) -> Result<bool, bson::error::Error> {
    if hello.get_array("hosts")?.len() == 1 && !hello.contains_key("passives") {
        return Ok(false);
    }
    let last = hello.get_document("lastWrite")?;
    let lacks = last.get_document("opTime")? != last.get_document("majorityOpTime")?;
    let at = last.get_datetime("majorityWriteDate")?.timestamp_millis();
    let age = hello.get_datetime("localTime")?.timestamp_millis() - at;
    Ok(lacks && u128::from(age.unsigned_abs()) >= BEHIND.as_millis())
}

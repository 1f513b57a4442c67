//! Whose database it is: two services in one would take each other's events, park them and answer for each other.

use bson::{Document, doc};
use mongodb::{
    Collection,
    error::{Error as MongoError, ErrorKind},
    options::ReturnDocument,
};

use crate::{
    Db,
    error::is_of_our_user,
    setting::{Unusable, unusable},
};

/// The collection of what one process or service has at a time: the database's owner, and the leases of other crates.
pub const LEASES: &str = "leases";
pub(crate) const OWNER: &str = "service";

/// Why a database is not known to be this service's.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// It is another's.
    #[error(transparent)]
    Foreign(#[from] Unusable),
    #[error(transparent)]
    Driver(#[from] MongoError),
}

impl OwnerError {
    /// In one line, with address and cause.
    pub fn explained(&self, db: &Db) -> String {
        match self {
            Self::Foreign(foreign) => foreign.to_string(),
            Self::Driver(error) => match &*error.kind {
                ErrorKind::Command(refused) if !is_of_our_user(error) => {
                    // Where an index can't be made, the rest quotes what is stored, of people too.
                    let why = refused.message.split(" dup key").next().unwrap_or_default();
                    format!("MongoDB refuses: {why}")
                }
                _ => db.explain(error),
            },
        }
    }
}

impl Db {
    /// Makes the database this service's, where it is nobody's yet. Nothing is written where it has an owner.
    ///
    /// # Errors
    /// When it is another service's, and the driver's.
    pub async fn claim(&self) -> Result<(), OwnerError> {
        self.need(LEASES, &["find", "insert", "update"]);
        let leases = self.leases();
        let owner = doc! { "$setOnInsert": { "name": &*self.0.service } };
        let claim = async move {
            let known = leases.find_one(doc! { "_id": OWNER }).await?;
            if known.is_some() {
                return Ok(known);
            }
            let claim = leases.find_one_and_update(doc! { "_id": OWNER }, owner);
            let claim = claim.upsert(true).return_document(ReturnDocument::After);
            claim.await
        };
        self.owned(self.bounded(self.0.timing.read_limit, claim).await?)
    }

    /// Looks whether the database is another service's; one that is nobody's stays so.
    ///
    /// # Errors
    /// When it is, and the driver's.
    pub async fn check_owner(&self) -> Result<(), OwnerError> {
        let leases = self.leases();
        let owner = async move { leases.find_one(doc! { "_id": OWNER }).await };
        self.owned(self.bounded(self.0.timing.read_limit, owner).await?)
    }

    fn leases(&self) -> Collection<Document> {
        self.collection(LEASES)
    }

    fn owned(&self, owner: Option<Document>) -> Result<(), OwnerError> {
        let owner = owner
            .as_ref()
            .map(|owner| owner.get_str("name").unwrap_or("?"));
        let (service, database) = (&*self.0.service, self.database());
        match owner.filter(|owner| *owner != service) {
            None => Ok(()),
            Some(owner) => Err(unusable("MONGO_URI")(format!(
                "the database {} belongs to the service {owner}, and this is {service}",
                database.name()
            ))
            .into()),
        }
    }
}

//! A service of notes, without events: the routes of a domain inside the whole stack.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bson::{DateTime, Document, doc, oid::ObjectId};
use db::{Abort, Db, MongoOptions, setting};
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testbed::{Place, now_seconds, text};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use utoipa::openapi::{Info, OpenApi};
use validator::Validate;
use web::{
    Answer, Authenticator, Closing, HttpOptions, Id, IdempotencyKey, JwtOptions, PageQuery,
    Preconditions, Refusal, Stack, Timing, User, ValidJson, asyncapi, etag, openapi, paged, sign,
};

pub(crate) const JWT_KEY: &str = "a key of thirty-two bytes or more";
const NOTES: &str = "notes";

#[derive(Deserialize, Validate)]
struct NewNote {
    #[validate(length(min = 1, max = 100, message = "text must have 1 to 100 characters"))]
    text: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    #[serde(rename = "_id")]
    id: ObjectId,
    text: String,
    user_id: String,
    version: i64,
    created_at: DateTime,
}

impl Note {
    fn view(&self) -> Value {
        json!({ "id": self.id.to_hex(), "text": self.text, "userId": self.user_id })
    }

    fn answer(&self, status: StatusCode) -> Answer {
        let answer =
            Answer::json(status, &self.view()).with_header(header::ETAG, etag(self.version));
        answer.with_header(header::LOCATION, format!("/api/notes/{}", self.id))
    }
}

async fn write_note(
    State(db): State<Db>,
    user: User,
    key: IdempotencyKey,
    ValidJson(new): ValidJson<NewNote>,
) -> Result<Answer, Refusal> {
    let note = Note {
        id: ObjectId::new(),
        text: new.text,
        user_id: user.id,
        version: 0,
        created_at: DateTime::now(),
    };
    key.once(&db.clone(), (db, note), |session, (db, note)| {
        Box::pin(async move {
            let notes = db.collection::<Note>(NOTES);
            notes.insert_one(note).session(session).await?;
            Ok::<_, Abort<Refusal>>(note.answer(StatusCode::CREATED))
        })
    })
    .await
}

async fn change_note(
    State(db): State<Db>,
    user: User,
    Id(id): Id,
    preconditions: Preconditions,
    key: IdempotencyKey,
    ValidJson(new): ValidJson<NewNote>,
) -> Result<Answer, Refusal> {
    let id = id.ok_or(Refusal::NotFound)?;
    let change = (db.clone(), id, user, preconditions, new);
    key.once(
        &db,
        change,
        |session, (db, id, user, preconditions, new)| {
            Box::pin(async move {
                let notes = db.collection::<Note>(NOTES);
                let of_id = doc! { "_id": id };
                let note = notes.find_one(of_id.clone()).session(&mut *session).await?;
                let mut note = note.ok_or(Refusal::NotFound)?;
                if note.user_id != user.id {
                    return Err(Refusal::Forbidden("only the owner may change it").into());
                }
                if !preconditions.accept(note.version) {
                    return Err(Refusal::PreconditionFailed.into());
                }
                note.text.clone_from(&new.text);
                note.version += 1;
                notes.replace_one(of_id, &note).session(session).await?;
                Ok(note.answer(StatusCode::OK))
            })
        },
    )
    .await
}

async fn read_note(
    State(db): State<Db>,
    Id(id): Id,
    preconditions: Preconditions,
) -> Result<Response, Refusal> {
    let id = id.ok_or(Refusal::NotFound)?;
    let notes = db.collection::<Note>(NOTES);
    let note = db.read(async move { notes.find_one(doc! { "_id": id }).await });
    let note = note.await?.ok_or(Refusal::NotFound)?;
    let etag = [(header::ETAG, etag(note.version))];
    if preconditions.is_not_modified(note.version)? {
        return Ok((StatusCode::NOT_MODIFIED, etag).into_response());
    }
    Ok((etag, Json(note.view())).into_response())
}

async fn list_notes(State(db): State<Db>, asked: PageQuery) -> Result<Response, Refusal> {
    page_of(&db, doc! {}, &asked).await
}

async fn list_own_notes(
    user: User,
    State(db): State<Db>,
    asked: PageQuery,
) -> Result<Response, Refusal> {
    page_of(&db, doc! { "userId": user.id }, &asked).await
}

async fn page_of(db: &Db, filter: Document, asked: &PageQuery) -> Result<Response, Refusal> {
    let (notes, next) = db.page::<Note>(NOTES, filter, asked.page).await?;
    let notes: Vec<Value> = notes.iter().map(Note::view).collect();
    Ok(paged(asked, &notes, next))
}

/// The service, running.
pub(crate) struct Toy {
    pub(crate) place: Place,
    pub(crate) address: String,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Toy {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(&mut HttpOptions)) -> Self {
        Self::start_at(Place::shared(), adjust).await
    }

    pub(crate) async fn start_at(place: Place, adjust: impl FnOnce(&mut HttpOptions)) -> Self {
        let mut options = options();
        adjust(&mut options);
        let mongo_uri = place.mongo_uri.clone().into();
        let mongo = MongoOptions { mongo_uri };
        let db = Db::connect(&mongo, "toy", db::Timing::default()).await;
        let db = db.unwrap();
        db.ensure_collection(NOTES, []).await.unwrap();
        web::collections(&db).await.unwrap();
        db.mark_prepared();
        let routes = Router::new()
            .route("/api/notes", get(list_notes).post(write_note))
            .route("/api/notes/{id}", get(read_note).put(change_note))
            .route("/api/mine", get(list_own_notes))
            .with_state(db);
        let timing = Timing::default();
        let routes = web::stack(routes, open(), stack_of(&options, timing));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let closing = Closing {
            soon: stop.clone(),
            now: stop.clone(),
        };
        let running = tokio::spawn(web::serve(listener, routes, timing, closing));
        Self {
            place,
            address,
            stop,
            running,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        testbed::client().request(method, format!("{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn post(&self, user: &str, body: Value) -> reqwest::Response {
        let post = self.request(Method::POST, "/api/notes");
        let post = post.bearer_auth(token(user)).json(&body).send();
        post.await.unwrap()
    }

    pub(crate) async fn create(&self) -> String {
        let created = self.post("alice", json!({ "text": "hello" })).await;
        assert_eq!(created.status(), 201);
        text(&created.json::<Value>().await.unwrap()["id"])
    }

    /// Every test's last step.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        self.running.await.unwrap();
        self.place.remove().await;
    }
}

/// Beside the domain, neither limited nor signed: health, and the page of the interface.
fn open() -> Router {
    let api = openapi::document(
        Info::new("toy", "0.1.0"),
        OpenApi::default(),
        OpenApi::default(),
    );
    let live = Router::new().route("/health/live", get(async || "ok"));
    let events = json!({ "info": { "title": "toy", "description": "a note's <script>" } });
    live.merge(openapi::routes(api))
        .merge(asyncapi::routes(events))
}

pub(crate) fn options() -> HttpOptions {
    HttpOptions {
        jwt: jwt(JWT_KEY),
        ..setting::options([
            "--listen-addr=127.0.0.1:0",
            "--rate-limit=0",
            "--write-rate-limit=0",
            "--stop-delay=0s",
        ])
        .unwrap()
    }
}

/// Routes of a test's own, inside the middleware; so many requests are worked on at once.
pub(crate) fn stacked(routes: Router, concurrency_limit: usize, timing: Timing) -> Router {
    let mut options = options();
    options.concurrency_limit = concurrency_limit;
    web::stack(routes, Router::new(), stack_of(&options, timing))
}

pub(crate) fn stack_of(options: &HttpOptions, timing: Timing) -> Stack<'_> {
    Stack {
        auth: Authenticator::new(options).unwrap(),
        options,
        timing,
        methods: vec![Method::GET, Method::POST, Method::PUT, Method::DELETE],
        work: TaskTracker::new(),
        is_traced: false,
    }
}

pub(crate) fn jwt(key: &str) -> JwtOptions {
    setting::options([format!("--jwt-key={key}")]).unwrap()
}

pub(crate) fn token(user: &str) -> String {
    sign(&jwt(JWT_KEY), user, None, now_seconds(), 600).unwrap()
}

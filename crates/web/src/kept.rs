//! What never changes while the process runs, such as the page's scripts of 1.5 MB: compressed once, and sent only to who does not have it.

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::Arc,
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{
            ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, IF_NONE_MATCH,
            VARY,
        },
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use parking_lot::Mutex;

use crate::{Refusal, caching, preconditions::Tags};

/// A page's file has a few MB at most.
const LARGEST: usize = 16 * 1024 * 1024;

/// By path.
#[derive(Default)]
struct Kept(Mutex<HashMap<String, Arc<Page>>>);

struct Page {
    /// With those of caching.
    headers: HeaderMap,
    /// In quotes; it is sent as a weak one, of both forms of the body.
    tag: String,
    plain: Bytes,
    gzip: Bytes,
}

/// Routes whose answers are kept.
pub(crate) fn kept(routes: Router) -> Router {
    let kept = Arc::new(Kept::default());
    routes.layer(from_fn_with_state(kept, keep))
}

/// Answers what was answered before, and keeps what is new.
async fn keep(State(kept): State<Arc<Kept>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    // One file has many names with a %, and is kept once.
    if !is_read || path.contains('%') {
        return next.run(request).await;
    }
    let headers = request.headers().clone();
    let known = kept.0.lock().get(&path).cloned();
    let page = match known {
        Some(page) => page,
        None => {
            let answer = next.run(without_method(request)).await;
            if answer.status() != StatusCode::OK {
                return answer;
            }
            let page = match Page::of(answer).await {
                Ok(page) => Arc::new(page),
                Err(error) => return Refusal::Internal(error).into_response(),
            };
            kept.0.lock().insert(path, Arc::clone(&page));
            page
        }
    };
    page.answer(&headers)
}

/// The whole of it is kept, whoever asks for its head alone.
fn without_method(mut request: Request) -> Request {
    *request.method_mut() = Method::GET;
    request
}

impl Page {
    async fn of(answer: Response) -> anyhow::Result<Self> {
        let (parts, body) = answer.into_parts();
        let plain = to_bytes(body, LARGEST).await?;
        let bytes = plain.clone();
        let compressed = tokio::task::spawn_blocking(move || compressed(&bytes)).await??;
        let hash = digest(&SHA256, &plain);
        let hash = hash.as_ref().iter().take(16);
        let tag = format!(
            "\"{}\"",
            hash.map(|it| format!("{it:02x}")).collect::<String>()
        );
        let mut headers = parts.headers;
        headers.remove(CONTENT_LENGTH);
        headers.insert(ETAG, HeaderValue::from_str(&format!("W/{tag}"))?);
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(CACHE_CONTROL, caching::ASK_AGAIN);
        Ok(Self {
            headers,
            tag,
            plain,
            gzip: compressed.into(),
        })
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let mut headers = self.headers.clone();
        let known = Tags::of(asked, &IF_NONE_MATCH).ok().flatten();
        if known.is_some_and(|known| known.name_text(&self.tag)) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        let body = if takes_gzip(asked) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            self.gzip.clone()
        } else {
            self.plain.clone()
        };
        (headers, Body::from(body)).into_response()
    }
}

fn compressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Whether it is named, and not with a weight of 0 (RFC 9110 §12.5.3).
fn takes_gzip(asked: &HeaderMap) -> bool {
    let lines = asked.get_all(ACCEPT_ENCODING).iter();
    let codings = lines.filter_map(|line| line.to_str().ok());
    codings.flat_map(|line| line.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().trim_start_matches(['q', 'Q', '=']);
        name.trim().eq_ignore_ascii_case("gzip") && weight.parse::<f32>().is_ok_and(|it| it > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use axum::{http, routing::get};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_file_is_kept_once_however_its_name_is_spelled() {
        let kept = Arc::new(Kept::default());
        let routes = Router::new().route("/{name}", get(async || "fine"));
        let routes: Router = routes.layer(from_fn_with_state(Arc::clone(&kept), keep));
        for path in ["/page", "/p%61ge", "/%70age", "/%70%61ge"] {
            let request = http::Request::get(path).body(Body::empty()).unwrap();
            let answer = routes.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
        }
        assert_eq!(kept.0.lock().len(), 1);
    }
}

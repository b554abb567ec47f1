//! The routes: what is answered to whom `access` has let through.
//!
//! Owns addresses, parameters and types of contents. What the answers say comes from `source`, `families` and `page`.

use super::access::{Gate, viewer};
use super::families;
use super::page;
use super::refusal::Refusal;
use super::sampler::{Sampler, Watch};
use super::source::{Question, Source};
use crate::transport::PeerCredentials;
use actix::Addr;
use actix_web::guard::{Any, Get, Head};
use actix_web::http::Method;
use actix_web::http::header::ContentType;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Route};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// The most rows that can be asked for.
const LIMIT_MAX: u32 = 10_000;
/// A stream says at least so often that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// Streams that are open at once, so that pages which are left open keep nobody from asking: those beyond them ask once a second.
const STREAMS_MAX: usize = 32;
/// What Prometheus calls its format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What browsers call a stream of events.
const EVENTS: &str = "text/event-stream";

type Answer = Result<HttpResponse, Refusal>;

/// Adds all of them.
pub(super) fn add(config: &mut ServiceConfig) {
    config
        .route("/", read().to(page::show))
        .route("/api/stream", read().to(stream))
        .route("/metrics", read().to(metrics))
        .route("/healthz", read().to(health));
    for question in Question::ALL {
        let answer = move |request: HttpRequest, source: Data<Source>| api(question, request, source);
        config.route(&format!("/api/{}", question.name()), read().to(answer));
    }
    config.default_service(web::to(|| async { Answer::Err(Refusal::Route) }));
}

fn read() -> Route {
    web::route().guard(Any(Get()).or(Head()))
}

async fn api(question: Question, request: HttpRequest, source: Data<Source>) -> Answer {
    let answer = source.ask(question, limit(request.query_string())?).await?;
    Ok(HttpResponse::Ok().insert_header(ContentType::json()).body(answer))
}

/// The rows that are asked for; without the parameter the broker decides.
fn limit(query: &str) -> Result<Option<u32>, Refusal> {
    let mut limits = query.split('&').filter_map(|part| part.strip_prefix("limit="));
    let Some(limit) = limits.next() else {
        return Ok(None);
    };
    let limit = limit.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.map(Some).ok_or(Refusal::Limit(LIMIT_MAX))
}

async fn metrics(source: Data<Source>) -> Answer {
    let mut answers = Vec::new();
    for question in Question::ALL {
        let limit = (question != Question::Status).then_some(LIMIT_MAX);
        let answer = source.ask(question, limit).await?;
        let answer: serde_json::Value =
            serde_json::from_slice(&answer).map_err(|error| Refusal::Broker(error.to_string()))?;
        answers.push(answer);
    }
    let text = families::text(&answers);
    Ok(HttpResponse::Ok().content_type(EXPOSITION).body(text))
}

async fn health(source: Data<Source>) -> Answer {
    source.probe().await?;
    Ok(HttpResponse::Ok()
        .insert_header(ContentType::plaintext())
        .body("ok\n"))
}

async fn stream(
    request: HttpRequest,
    sampler: Data<Addr<Sampler>>,
    (gate, places): (Data<Gate>, Data<Streams>),
) -> Answer {
    if request.method() == Method::HEAD {
        return Ok(HttpResponse::Ok().content_type(EVENTS).finish());
    }
    let place = places.0.clone().try_acquire_owned();
    let place = place.map_err(|_| Refusal::Streams(STREAMS_MAX))?;
    let gone = |_| Refusal::Broker("its System has ended".to_owned());
    let samples = sampler.send(Watch).await.map_err(gone)?;
    let watcher = Watcher {
        samples,
        gate,
        who: viewer(&request),
        _place: place,
    };
    Ok(HttpResponse::Ok()
        .content_type(EVENTS)
        .streaming(futures::stream::unfold(watcher, Watcher::next)))
}

/// Places for streams.
#[derive(Debug)]
pub(super) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS_MAX)))
    }
}

/// One open stream. It keeps no sample that its client has not taken but the newest.
struct Watcher {
    samples: watch::Receiver<Option<Bytes>>,
    gate: Data<Gate>,
    who: PeerCredentials,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<Bytes, std::convert::Infallible>, Self)> {
        loop {
            let bytes = match tokio::time::timeout(SIGN_OF_LIFE, self.samples.changed()).await {
                Err(_) => Bytes::from_static(b": here\n\n"),
                Ok(Err(_)) => return None,
                Ok(Ok(())) => match self.samples.borrow_and_update().clone() {
                    Some(bytes) => bytes,
                    None => continue,
                },
            };
            if !self.gate.still_lets(&self.who) {
                return None;
            }
            return Some((Ok(bytes), self));
        }
    }
}

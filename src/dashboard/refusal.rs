//! Why a request is not answered, as its sender is told.
//!
//! Owns the texts and the numbers of HTTP. Called by `access` and `routes`.

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, ContentType};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Another method than GET and HEAD.
    #[error("the dashboard only shows: GET and HEAD")]
    Method,
    /// It has a body.
    #[error("a request here has no body")]
    Body,
    /// The address is too long.
    #[error("the address of the request is longer than {0} bytes")]
    Address(usize),
    /// Its headers are too long.
    #[error("the headers of the request are longer than {0} bytes")]
    Headers(usize),
    /// It was meant for another host.
    #[error("the Host header names another host; use the address that the broker printed")]
    Host,
    /// Another site's page sent it.
    #[error("a page of another site asks; the dashboard answers its own page only")]
    Foreign,
    /// The peer may not monitor.
    #[error(
        "this user may not monitor the broker; its own user and root may, or whom its policy lets monitor by user (not by group)"
    )]
    User,
    /// The system does not tell who it is.
    #[error("the system does not tell whose connection this is")]
    Unknown,
    /// The token is missing or wrong.
    #[error(
        "a token is needed: open the address that the broker printed, or send `Authorization: Bearer TOKEN`"
    )]
    Token,
    /// There is no such page.
    #[error(
        "there is nothing here; docs/dashboard.md has the routes: / /api/status /api/connections /api/objects /api/topics /api/stream /metrics /healthz"
    )]
    Route,
    /// A parameter is none.
    #[error("limit is a number from 1 to {0}")]
    Limit(u32),
    /// All places for streams are taken.
    #[error("{0} streams are open already; ask /api/status and the others instead, or close a page")]
    Streams(usize),
    /// The broker does not answer.
    #[error("the broker does not answer: {0}")]
    Broker(String),
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Body | Self::Limit(_) => StatusCode::BAD_REQUEST,
            Self::Address(_) => StatusCode::URI_TOO_LONG,
            Self::Headers(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Foreign | Self::User | Self::Unknown => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Route => StatusCode::NOT_FOUND,
            Self::Broker(_) | Self::Streams(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status_code());
        match self {
            Self::Method => {
                response.insert_header((ALLOW, "GET, HEAD"));
            }
            Self::Token => {
                response.insert_header(("WWW-Authenticate", "Bearer"));
            }
            _ => {}
        }
        response
            .insert_header(ContentType::plaintext())
            .body(format!("{self}\n"))
    }
}

//! Which requests are answered: whose, for which host, from which page, and with which headers the answer leaves.
//!
//! Owns every check that comes before a route, in the order of [`Gate::check`]. It does not know what is shown. A browser is a deputy that
//! any page may send here, so the user of the connection is not enough: Host (another name that leads here), Origin and Sec-Fetch-Site
//! (another page that asks) are looked at as well.

use super::DashboardError;
use super::refusal::Refusal;
use crate::actors::BrokerHandle;
use crate::text::hex;
use crate::transport::PeerCredentials;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    TRANSFER_ENCODING,
};
use actix_web::http::{Method, Uri};
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest, web};
use std::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq;

/// The longest address of a request, in bytes: path and query.
const ADDRESS_MAX: usize = 512;
/// The longest headers of a request, in bytes of names and values: a browser's own are below two thousand.
const HEADERS_MAX: usize = 8 * 1024;
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;

/// What every answer says beside its contents.
const ALWAYS: [(&str, &str); 6] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

/// Who is answered.
#[derive(Debug)]
pub(super) enum Access {
    /// Whom the broker lets monitor, as the system tells who it is.
    Monitors(BrokerHandle),
    /// Who shows this.
    Token(String),
    /// Everybody.
    Anyone,
}

impl Access {
    /// A new token.
    pub(super) fn token() -> Result<Self, DashboardError> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| DashboardError::Random(error.to_string()))?;
        Ok(Self::Token(hex(&bytes)))
    }

    pub(super) fn secret(&self) -> Option<&str> {
        match self {
            Self::Token(secret) => Some(secret),
            Self::Monitors(_) | Self::Anyone => None,
        }
    }
}

/// The checks of one server.
#[derive(Debug)]
pub(super) struct Gate {
    bound: SocketAddr,
    access: Access,
}

impl Gate {
    pub(super) const fn new(bound: SocketAddr, access: Access) -> Self {
        Self { bound, access }
    }

    /// Whether whoever has this connection is refused whatever it asks for.
    pub(super) fn is_stranger(&self, who: &PeerCredentials) -> bool {
        match &self.access {
            Access::Monitors(broker) => !broker.may_monitor(who),
            Access::Token(_) | Access::Anyone => false,
        }
    }

    /// Whether the request is answered.
    fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        who: &PeerCredentials,
    ) -> Result<(), Refusal> {
        if uri
            .path_and_query()
            .is_some_and(|it| it.as_str().len() > ADDRESS_MAX)
        {
            return Err(Refusal::Address(ADDRESS_MAX));
        }
        let length: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if length > HEADERS_MAX {
            return Err(Refusal::Headers(HEADERS_MAX));
        }
        self.check_host(uri, headers)?;
        check_origin(uri.path(), headers)?;
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Refusal::Method);
        }
        let length = headers.get(CONTENT_LENGTH);
        if headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0") {
            return Err(Refusal::Body);
        }
        self.check_user(uri.path(), headers, who)
    }

    /// The host must be this server by a name that nobody else can give it: a name of DNS could be anybody's and lead here.
    fn check_host(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut hosts = headers.get_all(HOST);
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(Refusal::Host);
        };
        let host = host.to_str().map_err(|_| Refusal::Host)?;
        let absolute = uri.authority().map(|authority| authority.as_str());
        if !self.is_ours(host) || absolute.is_some_and(|authority| authority != host) {
            return Err(Refusal::Host);
        }
        Ok(())
    }

    fn is_ours(&self, host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (host, Some(80)),
        };
        if port != Some(self.bound.port()) {
            return false;
        }
        let bound = self.bound.ip().to_canonical();
        if name.eq_ignore_ascii_case("localhost") {
            return bound.is_loopback() || bound.is_unspecified();
        }
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let address = match bare {
            Some(bare) => bare.parse().ok().map(IpAddr::V6),
            None => name.parse().ok().map(IpAddr::V4),
        };
        // Whoever says an address means this machine: it came here by it.
        address.is_some_and(|address| bound.is_unspecified() || address.to_canonical() == bound)
    }

    fn check_user(&self, path: &str, headers: &HeaderMap, who: &PeerCredentials) -> Result<(), Refusal> {
        match &self.access {
            Access::Anyone => Ok(()),
            Access::Monitors(_) if who.uid.is_none() => Err(Refusal::Unknown),
            Access::Monitors(broker) if broker.may_monitor(who) => Ok(()),
            Access::Monitors(_) => Err(Refusal::User),
            // The page itself says nothing of the broker. Its script has the token, in the part of the address that is never sent.
            Access::Token(_) if path == "/" => Ok(()),
            Access::Token(secret) => {
                let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
                let shown = shown
                    .and_then(|shown| shown.strip_prefix("Bearer "))
                    .unwrap_or_default();
                match bool::from(shown.as_bytes().ct_eq(secret.as_bytes())) {
                    true => Ok(()),
                    false => Err(Refusal::Token),
                }
            }
        }
    }

    /// Whether the peer of a long answer may still have more of it: policies change.
    pub(super) fn still_lets(&self, who: &PeerCredentials) -> bool {
        match &self.access {
            Access::Monitors(broker) => broker.may_monitor(who),
            Access::Token(_) | Access::Anyone => true,
        }
    }
}

/// Another page may not ask. Going to the page from a link is not asking: what comes of it, only the page itself sees.
fn check_origin(path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(origin) = headers.get(ORIGIN) {
        let host = headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let origin = origin.to_str().unwrap_or_default();
        if origin.strip_prefix("http://") != Some(host) {
            return Err(Refusal::Foreign);
        }
    }
    match text("sec-fetch-site") {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_)
            if path == "/"
                && text("sec-fetch-mode") == Some("navigate")
                && text("sec-fetch-dest") == Some("document") =>
        {
            Ok(())
        }
        Some(_) => Err(Refusal::Foreign),
    }
}

/// Who is at the other end of the request's connection.
pub(super) fn viewer(request: &HttpRequest) -> PeerCredentials {
    request
        .conn_data::<PeerCredentials>()
        .copied()
        .unwrap_or(PeerCredentials::UNKNOWN)
}

/// Stands before every route.
pub(super) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let verdict = match request.app_data::<web::Data<Gate>>() {
        Some(gate) => gate.check(
            request.method(),
            request.uri(),
            request.headers(),
            &viewer(request.request()),
        ),
        None => Err(Refusal::Unknown),
    };
    let mut response = match verdict {
        Ok(()) => next.call(request).await?.map_into_boxed_body(),
        Err(refusal) => request.error_response(refusal).map_into_boxed_body(),
    };
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let policy = HeaderName::from_static("content-security-policy");
    if !headers.contains_key(&policy) {
        headers.insert(
            policy,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        );
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;

//! How an endpoint comes onto a bus.
//!
//! Owns the steps and their time limit: check the options, find or become the host, connect, join. The host is `host`'s, the connection
//! the client library's.

use super::endpoint::EndpointSender;
use super::error::{JoinError, refusal};
use super::message_box::MessageBox;
use super::options::Options;
use super::receive::EndpointReceiver;
use crate::client::IpcClient;
use crate::client::blocking::block_on;
use crate::client::join::Joined;
use crate::client::runtime::at_most;
use crate::message::bus::{BUS_VERSION, Join};
use crate::transport::Endpoint;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The two ends of an endpoint.
pub type Ends<T, R> = (EndpointSender<T>, EndpointReceiver<R>);

/// Joins a bus, and makes it when nobody hosts it. `T` is what this endpoint sends, `R` what it receives. Waits at most `timeout` for a
/// host that lets it in.
///
/// The process that comes first hosts the bus for the others, on a thread of its own; when it ends, another takes over and every endpoint
/// joins again by itself.
///
/// # Errors
/// [`JoinError`], by who must act.
pub fn join<T: MessageBox, R: MessageBox>(
    options: Options,
    timeout: Option<Duration>,
) -> Result<Ends<T, R>, JoinError> {
    block_on(join_async(options, timeout)).unwrap_or(Err(JoinError::Blocking))
}

/// The same for async code, on any executor. Dropping the future gives it up.
///
/// # Errors
/// [`JoinError`], by who must act.
pub async fn join_async<T: MessageBox, R: MessageBox>(
    options: Options,
    timeout: Option<Duration>,
) -> Result<Ends<T, R>, JoinError> {
    let payload = check(&options)?;
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let joining = attempts(&options, &payload, until);
    let joined = Arc::new(at_most(left(until), joining).await.unwrap_or_else(|| {
        let text = "its host accepts connections and does not answer".to_owned();
        Err(JoinError::Timeout(text))
    })?);
    let receiver = EndpointReceiver::new(Arc::clone(&joined));
    Ok((EndpointSender::new(joined), receiver))
}

/// The payload of the Join.
fn check(options: &Options) -> Result<Vec<u8>, JoinError> {
    if options.identifier.is_empty() && options.endpoint.is_none() {
        return Err(JoinError::Invalid(
            "the identifier of a bus is not empty".to_owned(),
        ));
    }
    let join = Join {
        version: BUS_VERSION,
        token: options.token.as_bytes(),
        labels: options.label.iter().collect(),
    };
    join.encode()
        .map_err(|error| JoinError::Invalid(error.to_string()))
}

fn left(until: Option<Instant>) -> Option<Duration> {
    until.map(|until| until.saturating_duration_since(Instant::now()))
}

/// Until a host lets the endpoint in, or refuses it for good.
async fn attempts(options: &Options, payload: &[u8], until: Option<Instant>) -> Result<Joined, JoinError> {
    loop {
        let client = connect(host(options)?, until).await?;
        match client.join_bus(payload, options.unix_sockets).await {
            Ok(joined) => return Ok(joined),
            // Without such an answer the host is leaving, or has gone: there will be another.
            Err(error) => match refusal(&error) {
                Some(refused) => return Err(refused),
                None if until.is_some_and(|until| Instant::now() >= until) => {
                    return Err(JoinError::Timeout(error.to_string()));
                }
                None => {}
            },
        }
    }
}

fn host(options: &Options) -> Result<Endpoint, JoinError> {
    options
        .endpoint
        .clone()
        .ok_or_else(|| JoinError::System("no host".to_owned()))
}

async fn connect(endpoint: Endpoint, until: Option<Instant>) -> Result<IpcClient, JoinError> {
    let builder = IpcClient::builder().endpoint(endpoint);
    let connected = match left(until) {
        Some(left) => builder.connect_wait(left).await,
        None => builder.connect_forever().await,
    };
    connected.map_err(|error| JoinError::Timeout(error.to_string()))
}

//! How an endpoint comes onto a bus.
//!
//! Owns the steps and their time limit: check the options, find or become the host, connect, join. The host is `host`'s, the connection
//! the client library's.

use super::endpoint::EndpointSender;
use super::error::{JoinError, refusal};
use super::host::{AttachError, AttachOptions, Attached, Hosting, attach, is_forked};
use super::message_box::MessageBox;
use super::options::Options;
use super::receive::EndpointReceiver;
use super::seat::Seat;
use crate::actors::BusOptions;
use crate::client::blocking::block_on;
use crate::client::join::Joined;
use crate::client::runtime::at_most;
use crate::client::{ClientBuilder, IpcClient};
use crate::message::bus::{BUS_VERSION, Join};
use crate::platform::fork;
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
    if is_forked() {
        return Err(JoinError::Forked);
    }
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let attached = match &options.endpoint {
        // `attach` does the same.
        Some(_) => fork::arm()
            .map(|()| None)
            .map_err(|error| JoinError::System(error.to_string()))?,
        None => Some(attach(&options.identifier, attach_options(&options, until)).await?),
    };
    let joining = attempts(&options, attached.as_ref(), &payload, until);
    let joined = match at_most(left(until), joining).await {
        Some(joined) => joined?,
        None => {
            return Err(late(
                attached.as_ref(),
                "a host accepts connections, and does not answer",
            ));
        }
    };
    let seat = Arc::new(Seat::new(joined, attached));
    let receiver = EndpointReceiver::new(Arc::clone(&seat));
    Ok((EndpointSender::new(seat), receiver))
}

fn attach_options(options: &Options, until: Option<Instant>) -> AttachOptions {
    AttachOptions {
        may_host: options.controller_affinity,
        until,
        hosting: Hosting {
            bus: BusOptions::new(options.token.as_bytes()),
            ..Hosting::default()
        },
    }
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
async fn attempts(
    options: &Options,
    attached: Option<&Attached>,
    payload: &[u8],
    until: Option<Instant>,
) -> Result<Joined, JoinError> {
    loop {
        let client = connect(options, attached, until).await?;
        match client.join_bus(payload, options.unix_sockets).await {
            Ok(joined) => return Ok(joined),
            // Without such an answer the host is leaving, or has gone: there will be another.
            Err(error) => match refusal(&error) {
                Some(refused) => return Err(refused),
                None if until.is_some_and(|until| Instant::now() >= until) => {
                    return Err(late(attached, &error.to_string()));
                }
                None => {}
            },
        }
    }
}

async fn connect(
    options: &Options,
    attached: Option<&Attached>,
    until: Option<Instant>,
) -> Result<IpcClient, JoinError> {
    let endpoint = options
        .endpoint
        .clone()
        .or_else(|| attached.map(Attached::endpoint));
    let builder = IpcClient::builder().prompt_reconnect(attached.is_some());
    let builder = endpoint.into_iter().fold(builder, ClientBuilder::endpoint);
    let connected = match left(until) {
        Some(left) => builder.connect_wait(left).await,
        None => builder.connect_forever().await,
    };
    let client = connected.map_err(|error| late(attached, &error.to_string()))?;
    if let Some(attached) = attached {
        attached.look_after(&client);
    }
    Ok(client)
}

/// Time was over.
fn late(attached: Option<&Attached>, why: &str) -> JoinError {
    match attached.and_then(Attached::stopped_host) {
        Some(pid) => JoinError::HostStopped { pid },
        None => JoinError::Timeout(why.to_owned()),
    }
}

impl From<AttachError> for JoinError {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Forked => Self::Forked,
            AttachError::HostStopped { pid } => Self::HostStopped { pid },
            AttachError::NoHost { .. } => Self::Timeout(error.to_string()),
            other => Self::System(other.to_string()),
        }
    }
}

//! What each command does with the broker.
//!
//! Owns the order of steps of each command and the words around an error. The rest is elsewhere: the command line
//! in `arguments`, the layout in `output` and `tables`, the exit codes in `exit`. Called by `main`.

use crate::arguments::{Command, Message, Options, Rob};
use crate::bench;
use crate::exit::{Exit, Failure};
use crate::listen;
use crate::output::Output;
use crate::protocols;
use crate::tables;
use actix_ipc::client::{IpcClient, parse_address};
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::{Encoding, Payload};
use actix_ipc::terminal::nearest;
use actix_ipc::transport::TlsClient;
use std::future::IntoFuture;
use std::time::Duration;

/// What a proposal for a misspelt name may cost.
const PROPOSAL_PATIENCE: Duration = Duration::from_millis(500);
/// How long the end waits for the broker to take note of it.
const GOODBYE_PATIENCE: Duration = Duration::from_millis(250);

/// Carries the command out.
pub(crate) async fn run(rob: Rob) -> Result<(), Failure> {
    let options = &rob.options;
    if let Command::Bench(bench) = &rob.command {
        return bench::run(bench, options).await;
    }
    let mut output = Output::stdout(options.json);
    // Whoever waits for one answer wants to know that it will not come; a listener goes on.
    let lasting = matches!(rob.command, Command::Listen(_));
    let client = connect(options, lasting).await?;
    match &rob.command {
        Command::Call(message) => call(&client, options, message, &mut output).await,
        Command::Send(message) => send(&client, options, message, &mut output).await,
        Command::Listen(wanted) => listen::run(&client, options, wanted, &mut output).await,
        Command::List => list(&client, options, &mut output).await,
        Command::Describe { object } => describe(&client, options, object, &mut output).await,
        // Has connections of its own.
        Command::Bench(_) => Ok(()),
    }?;
    // A goodbye is a courtesy: everything that matters has been answered.
    let _ = tokio::time::timeout(GOODBYE_PATIENCE, client.close()).await;
    Ok(())
}

/// Connects to the broker that the options name; a lasting connection is made again when it is lost.
pub(crate) async fn connect(options: &Options, lasting: bool) -> Result<IpcClient, Failure> {
    let mut builder = IpcClient::builder().name("rob").reconnect(lasting);
    if let Some(text) = &options.addr {
        let endpoint =
            parse_address(text).map_err(|error| Failure::new(Exit::Usage, format!("--addr: {error}")))?;
        builder = builder.endpoint(endpoint);
    }
    if let Some(path) = &options.token_file {
        builder = builder.token_file(path);
    }
    let tls = TlsClient {
        ca: options.tls_ca.clone(),
        pin: options.tls_pin.clone(),
        server_name: options.tls_name.clone(),
        identity: options.tls_cert.clone().zip(options.tls_key.clone()),
    };
    builder.tls(tls).connect().await.map_err(Failure::of_connect)
}

async fn call(
    client: &IpcClient,
    options: &Options,
    message: &Message,
    output: &mut Output,
) -> Result<(), Failure> {
    let (object, method) = (message.object.as_str(), message.method.as_str());
    let mut request = client.call(object, method);
    if let Some(deadline) = options.timeout {
        request = request.deadline(deadline);
    }
    // Asked for as a stream, because only the object knows whether it answers once or often.
    let mut items = request.stream_payload(payload(message));
    let mut first = true;
    while let Some(item) = items.next().await {
        let item = match item {
            Ok(item) => item.payload,
            Err(error) => return Err(failed(client, &format!("call {object}.{method}"), object, error).await),
        };
        if !std::mem::take(&mut first) {
            output.gap()?;
        }
        output.result(&item)?;
    }
    Ok(())
}

async fn send(
    client: &IpcClient,
    options: &Options,
    message: &Message,
    output: &mut Output,
) -> Result<(), Failure> {
    let (object, topic) = (message.object.as_str(), message.method.as_str());
    let accepted = client
        .publish_payload(object, topic, payload(message))
        .acknowledged();
    within(options, &format!("send {object}.{topic}"), accepted).await?;
    output.result(&json(&serde_json::Value::Null))?;
    Ok(())
}

async fn list(client: &IpcClient, options: &Options, output: &mut Output) -> Result<(), Failure> {
    let list = within(options, "list", client.list()).await?;
    if output.json() {
        output.result(&json(&list))?;
    } else {
        output.text(&tables::list(&list))?;
    }
    Ok(())
}

async fn describe(
    client: &IpcClient,
    options: &Options,
    object: &str,
    output: &mut Output,
) -> Result<(), Failure> {
    match limited(options, client.describe(object)).await {
        Ok(description) if output.json() => Ok(output.result(&json(&description))?),
        Ok(mut description) => {
            let protocols = description.get("description").and_then(protocols::text);
            if let (Some(_), Some(entries)) = (&protocols, description.as_object_mut()) {
                entries.remove("description");
            }
            output.result(&json(&description))?;
            if let Some(text) = protocols {
                output.gap()?;
                output.text(&text)?;
            }
            Ok(())
        }
        Err(error) => Err(failed(client, &format!("describe {object}"), object, error).await),
    }
}

/// The payload of a command's value.
fn payload(message: &Message) -> Payload {
    Payload {
        encoding: Encoding::JSON,
        bytes: message.json.clone().into(),
    }
}

fn json(value: &serde_json::Value) -> Payload {
    Payload {
        encoding: Encoding::JSON,
        bytes: value.to_string().into(),
    }
}

/// What `--timeout` leaves of a request that has no deadline of its own.
async fn limited<T>(
    options: &Options,
    request: impl IntoFuture<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    match options.timeout {
        None => request.await,
        Some(patience) => tokio::time::timeout(patience, request)
            .await
            .unwrap_or_else(|_| Err(ErrorCode::Deadline.into())),
    }
}

/// The same, with the words around its error.
pub(crate) async fn within<T>(
    options: &Options,
    context: &str,
    request: impl IntoFuture<Output = Result<T, CallError>>,
) -> Result<T, Failure> {
    limited(options, request)
        .await
        .map_err(|error| Failure::of_call(context, error))
}

/// The failure of a request to an object; when there is none of that name, with the nearest one there is.
async fn failed(client: &IpcClient, context: &str, object: &str, error: CallError) -> Failure {
    let unknown = error.code == ErrorCode::NoSuchObject;
    let mut failure = Failure::of_call(context, error);
    if unknown {
        let list = tokio::time::timeout(PROPOSAL_PATIENCE, client.list()).await;
        let names = list
            .ok()
            .and_then(Result::ok)
            .map(|list| tables::object_names(&list))
            .unwrap_or_default();
        failure
            .message
            .push_str(&match nearest(object, names.iter().map(String::as_str)) {
                Some(name) => format!("; did you mean {name:?}?"),
                None => "; `rob list` shows what is registered".to_owned(),
            });
    }
    failure
}

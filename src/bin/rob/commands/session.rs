//! What a command works with: its connection, the options, and the way out for results.
//!
//! Owns how rob connects, what `--timeout` leaves of a request, and the words around an error, with the name that was probably meant.
//! It knows no command. Called by every command that needs a broker.

use super::tables;
use crate::exit::{Exit, Failure};
use crate::options::Options;
use crate::output::Output;
use crate::say;
use actix_ipc::client::{ClientBuilder, IpcClient, parse_address};
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::TraceParent;
use actix_ipc::platform::signals::EndSignals;
use actix_ipc::settings::tokens;
use actix_ipc::terminal::{nearest, printable};
use actix_ipc::transport::{Endpoint, TlsClient};
use std::future::IntoFuture;
use std::time::{Duration, Instant};

/// Where the broker is, when the command line does not say it.
pub(crate) const VARIABLE: &str = "IPC_BROKER_ADDR";
/// What a proposal for a misspelt name may cost.
const PROPOSAL_PATIENCE: Duration = Duration::from_millis(500);
/// How long the end waits for the broker to take note of it.
const GOODBYE_PATIENCE: Duration = Duration::from_millis(250);
/// How long the broker may take for what it does at once, when nothing else is said: the deadline that it gives calls.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A command at work.
pub(crate) struct Session {
    /// The connection.
    pub(crate) client: IpcClient,
    /// What the command line says.
    pub(crate) options: Options,
    /// Where results go.
    pub(crate) output: Output,
}

impl Session {
    /// Connects. A lasting connection is made again when it is lost: whoever waits for one answer wants to know that it will not come, a
    /// listener goes on.
    pub(crate) async fn open(options: &Options, lasting: bool) -> Result<Self, Failure> {
        Ok(Self::with(connect(options, lasting).await?, options))
    }

    /// The same with a connection that is there.
    pub(crate) fn with(client: IpcClient, options: &Options) -> Self {
        Self {
            client,
            output: Output::stdout(options.json),
            options: options.clone(),
        }
    }

    /// Ends the connection. A goodbye is a courtesy: everything that matters has been answered.
    pub(crate) async fn close(self) {
        let _ = tokio::time::timeout(GOODBYE_PATIENCE, self.client.close()).await;
    }

    /// A request that has no deadline of its own: `--timeout`, or [`PATIENCE`].
    pub(crate) async fn limited<T>(
        &self,
        request: impl IntoFuture<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let patience = self.options.timeout.unwrap_or(PATIENCE);
        let limited = tokio::time::timeout(patience, request).await;
        limited.unwrap_or_else(|_| {
            let text = format!("the broker did not answer within {} s", patience.as_secs_f64());
            Err(CallError::new(ErrorCode::Deadline, text).ran(true))
        })
    }

    /// The same, with the words around its error.
    pub(crate) async fn within<T>(
        &self,
        context: &str,
        request: impl IntoFuture<Output = Result<T, CallError>>,
    ) -> Result<T, Failure> {
        self.limited(request)
            .await
            .map_err(|error| Failure::of_call(context, error))
    }

    /// The failure of a request to an object; when there is none of that name, with the nearest one there is.
    pub(crate) async fn failed(&self, context: &str, object: &str, error: CallError) -> Failure {
        let unknown = error.code == ErrorCode::NoSuchObject;
        let mut failure = Failure::of_object_call(context, object, error);
        let names = match unknown {
            true => self.object_names().await,
            false => Vec::new(),
        };
        // One that is there and says itself that it is not needs no other name.
        if unknown && !names.iter().any(|name| name == object) {
            failure
                .message
                .push_str(&match nearest(object, names.iter().map(String::as_str)) {
                    Some(name) => format!("; did you mean {name:?}?"),
                    None => "; `rob list` shows what is registered".to_owned(),
                });
        }
        failure
    }

    /// The names of all objects, for a proposal; none when the broker takes too long.
    pub(crate) async fn object_names(&self) -> Vec<String> {
        let list = tokio::time::timeout(PROPOSAL_PATIENCE, self.client.list()).await;
        list.ok()
            .and_then(Result::ok)
            .map(|list| tables::object_names(&list))
            .unwrap_or_default()
    }
}

/// Does something that may take long, unless a signal ends the program.
pub(crate) async fn unless_ended<T>(
    signals: &mut EndSignals,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        signal = signals.next() => Err(Failure::new(Exit::of_signal(signal), "")),
        done = work => done,
    }
}

/// Connects to the broker that the options name; a lasting connection is made again when it is lost.
pub(crate) async fn connect(options: &Options, lasting: bool) -> Result<IpcClient, Failure> {
    let begun = Instant::now();
    let connected = builder(options)?.reconnect(lasting).connect().await;
    let left = options.timeout.map(|limit| limit.saturating_sub(begun.elapsed()));
    match (connected, left) {
        // Somebody is there, and may have time for this one soon.
        (Err(error), Some(left)) if error.unanswered && !lasting && !left.is_zero() => {
            builder(options)?.reconnect(lasting).connect_wait(left).await
        }
        (connected, _) => connected,
    }
    .map_err(Failure::of_connect)
}

/// A connection as the options describe it.
///
/// # Errors
/// `--addr` is no endpoint, or `--token-file` holds no token.
pub(crate) fn builder(options: &Options) -> Result<ClientBuilder, Failure> {
    let mut builder = IpcClient::builder().name(options.doing.as_deref().unwrap_or("rob"));
    let read = |text: &str, source: &str| {
        parse_address(text).map_err(|error| {
            // No other program can have a broker that rob reaches so.
            let text = error
                .to_string()
                .replace(", pipe:name or mem:name", " or pipe:name");
            // It is not escaped, and would break the line.
            Failure::new(Exit::Usage, format!("{source}: {}", printable(&text)))
        })
    };
    let mut named = None;
    if let Some(text) = &options.addr {
        let endpoint = read(text, "--addr")?;
        let asks_proof =
            options.token_file.is_some() || options.tls_ca.is_some() || options.tls_pin.is_some();
        if asks_proof && matches!(endpoint, Endpoint::Unix(_) | Endpoint::Pipe(_)) {
            say::warn("--token-file and --tls-… are not used: at this endpoint the system says who is who");
        }
        builder = builder.endpoint(endpoint.clone());
        named = Some(endpoint);
    } else if let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) {
        // The library would take it as well, and could not say who must act.
        named = Some(read(&text.to_string_lossy(), VARIABLE)?);
    }
    if let Some(limit) = options.timeout {
        builder = builder.deadline(limit);
    }
    if let Some(path) = &options.token_file {
        // The usual places have one where it is shown.
        if named.is_none_or(|endpoint| matches!(endpoint, Endpoint::Tcp(_) | Endpoint::Tls(_))) {
            // The library would find it out at the endpoint, and could not say that no other broker would help.
            tokens::read_file(path)
                .map_err(|why| Failure::new(Exit::Usage, format!("--token-file: {why}")))?;
        }
        builder = builder.token_file(path);
    }
    let tls = TlsClient {
        ca: options.tls_ca.clone(),
        pin: options.tls_pin.clone(),
        server_name: options.tls_name.clone(),
        identity: options.tls_cert.clone().zip(options.tls_key.clone()),
    };
    Ok(builder.tls(tls))
}

/// The trace that this program runs in, as its caller says in `TRACEPARENT`. One that is none is nobody's.
pub(crate) fn trace() -> Option<TraceParent> {
    std::env::var("TRACEPARENT").ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(addr: &str, token_file: Option<&std::path::Path>) -> String {
        let options = Options {
            addr: Some(addr.to_owned()),
            token_file: token_file.map(Into::into),
            ..Options::default()
        };
        match builder(&options) {
            Ok(_) => String::new(),
            Err(failure) => {
                assert_eq!((failure.exit, failure.code()), (Exit::Usage, "Usage"));
                failure.message
            }
        }
    }

    #[test]
    fn a_token_file_without_a_token_is_the_command_lines_fault() {
        let folder = tempfile::tempdir().unwrap();
        let (absent, empty) = (folder.path().join("absent"), folder.path().join("empty"));
        actix_ipc::platform::secret::create(&empty, b"").unwrap();
        for (file, why) in [
            (&absent, "cannot be opened"),
            (&empty, "it does not hold a token"),
        ] {
            let start = format!("--token-file: {}: {why}", file.display());
            for addr in ["tcp:127.0.0.1:5123", "tls:broker.example:5124"] {
                let refusal = refused(addr, Some(file));
                assert!(refusal.starts_with(&start), "{addr}: {refusal}");
            }
            assert_eq!(
                refused("unix:/run/b.sock", Some(file)),
                "",
                "it is not used there"
            );
        }
    }

    #[test]
    fn an_endpoint_that_is_none_stays_on_its_line() {
        let refusal = refused("pipe:a\nb", None);
        assert!(
            refusal.starts_with("--addr: `pipe:a\\nb` is not an endpoint"),
            "{refusal}"
        );
    }
}

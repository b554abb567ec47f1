//! The log of the daemon: who gets which lines, in which form.
//!
//! Owns the subscriber of tracing. Where lines go is [`super::voice`]'s; what may be set is `actix_ipc::settings`'.

use super::reload::SetLog;
use super::voice;
use actix_ipc::settings::Settings;
use actix_ipc::terminal::LogFormat;
use std::io;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

/// What the crates below the web page say, unless it is asked for: a line of theirs for each request that is none could be caused by anybody.
const QUIET: &str = "actix_server=warn,actix_http=off";

/// The filter that is asked for.
fn filter(wanted: &str) -> EnvFilter {
    // Of two directives for one target the later one holds.
    EnvFilter::new(format!("{QUIET},{wanted}"))
}

/// Starts the log. Returns how its filter is set from now on.
///
/// # Errors
/// When the system gives no thread for it.
pub(crate) fn start(settings: &Settings) -> io::Result<SetLog> {
    let writer = voice::start(settings.log_format)?;
    let (wanted, handle) = reload::Layer::new(filter(&settings.log));
    // Without colours: the writer escapes every control character, because peers' text may hold some.
    let lines = fmt::layer().with_ansi(false).with_writer(move || writer.clone());
    let lines = match settings.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(wanted).with(lines).init();
    Ok(Box::new(move |text| {
        handle.reload(filter(text)).map_err(|error| error.to_string())
    }))
}

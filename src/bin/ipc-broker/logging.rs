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

/// Starts the log. Returns how its filter is set from now on.
///
/// # Errors
/// When the system gives no thread for it.
pub(crate) fn start(settings: &Settings) -> io::Result<SetLog> {
    let writer = voice::start(settings.log_format)?;
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&settings.log));
    // Without colours: the writer escapes every control character, because peers' text may hold some.
    let lines = fmt::layer().with_ansi(false).with_writer(move || writer.clone());
    let lines = match settings.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
    Ok(Box::new(move |filter| {
        handle
            .reload(EnvFilter::new(filter))
            .map_err(|error| error.to_string())
    }))
}

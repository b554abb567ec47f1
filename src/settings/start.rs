//! What else would stop a start: files that are missing, endpoints that cannot be opened.
//!
//! Owns which settings lead to something outside of the settings, and under which key its trouble is told. How each is looked at is
//! known where it is used: `transport`, `tokens`, `activation`. Nothing is made and nothing is opened for others. `config check` asks for it.

use super::check::Problem;
use super::{Settings, tokens};
use crate::activation::read;
use crate::transport::{Endpoint, check};

/// Everything that the broker would stumble over; `origin` says where a key's value came from. The folder of tokens that nobody
/// named is looked at with `usual` only.
pub(super) fn problems(
    settings: &Settings,
    origin: &dyn Fn(&str) -> String,
    usual: bool,
    problems: &mut Vec<Problem>,
) {
    let mut complain = |key: &str, text: String| {
        let problem = Problem::new(&origin(key), Some(key), text);
        // Of some it was found already that nothing here can use them.
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    };
    for endpoint in &settings.listen {
        if let Err(error) = check::endpoint(endpoint, &settings.socket) {
            complain("listen", error.to_string());
        }
    }
    let listens_with_tls = settings
        .listen
        .iter()
        .any(|endpoint| matches!(endpoint, Endpoint::Tls(_)));
    if let Some(tls) = settings.tls.as_ref().filter(|_| listens_with_tls) {
        for (key, text) in check::tls(tls) {
            complain(key, text);
        }
    }
    // What is wrong with the folder that nobody named is left out, and stops no start.
    let named = origin("activation") != super::layer::DEFAULT;
    if let Some(path) = settings.activation.as_deref().filter(|_| named) {
        for wrong in read::services(path).err().unwrap_or_default() {
            complain("activation", wrong);
        }
    }
    if let Some(path) = settings.systemctl.as_deref().filter(|path| !path.is_file()) {
        let text = format!("there is no program {}", path.display());
        complain("systemctl", text);
    }
    let named = origin("tokens") != super::layer::DEFAULT;
    let folder = settings.tokens.as_deref().filter(|_| named || usual);
    let run_time = crate::client::token_file().filter(|_| usual);
    if let Err(error) = tokens::read(folder, run_time.as_deref()) {
        complain("tokens", error);
    }
}

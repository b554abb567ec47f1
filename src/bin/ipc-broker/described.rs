//! The descriptions of services, as the settings name them.
//!
//! Owns what the daemon says of them: whose setting is wrong, and how many there are. How they are read is `activation::read`'s. Called at the start,
//! by `config check` and when everything is read again.

use super::voice::complain;
use actix_ipc::activation::{Service, Services, Start, read};
use actix_ipc::platform::child::HAS_UNITS;
use actix_ipc::settings::{Entry, Problem, Settings};
use actix_ipc::terminal::printable;
use std::sync::Arc;

/// How many services there are, and how many of them this system cannot start because it has no units.
pub(crate) fn counted(services: &Services) -> String {
    counted_where(services, HAS_UNITS)
}

fn counted_where(services: &Services, has_units: bool) -> String {
    let all = services.all();
    let is_unit = |service: &&Arc<Service>| !matches!(service.start, Start::Process(_));
    match all.iter().filter(is_unit).count() {
        units if units > 0 && !has_units => {
            format!(
                "{}, of which {units} cannot be started here: there are no units",
                all.len()
            )
        }
        _ => all.len().to_string(),
    }
}

/// The services that are described, if there is a description.
pub(crate) fn services(settings: &Settings) -> Result<Services, Vec<String>> {
    let Some(path) = &settings.activation else {
        return Ok(Services::default());
    };
    let named = |entry: &Entry| entry.key == "activation" && entry.value != "\"\"";
    let (services, notes) = match settings.entries().iter().find(|entry| named(entry)) {
        Some(entry) => read::services(path).map_err(|wrong| {
            let told = |text| Problem {
                origin: entry.origin.clone(),
                key: Some(entry.key.clone()),
                text,
            };
            wrong
                .into_iter()
                .map(|text| told(text).to_string())
                .collect::<Vec<_>>()
        })?,
        None => read::usual(path),
    };
    notes.iter().for_each(|note| complain(printable(note)));
    Ok(services)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_ipc::activation::Program;

    #[test]
    fn what_cannot_be_started_here_is_counted_apart() {
        let process = Start::Process(Program {
            argv: vec!["worker".into()],
            ..Program::default()
        });
        let unit = Start::SystemUnit("x.service".into());
        let both = Services::new(vec![
            Service::new(["a"], process.clone()),
            Service::new(["b"], unit),
        ])
        .unwrap();
        assert_eq!(counted_where(&both, true), "2");
        assert!(counted_where(&both, false).starts_with("2, of which 1 cannot be started here"));
        let one = Services::new(vec![Service::new(["a"], process)]).unwrap();
        assert_eq!(counted_where(&one, false), "1");
    }
}

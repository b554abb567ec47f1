//! How the services are that start on demand: the question to Registry, and the answer as JSON.
//!
//! Owns the keys, which docs/observe.md lists. It refuses to know when a service is started. Asked by the built-in object `sys.broker`.

use crate::activation::{Service, Shown, Start};
use actix::Message;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Objects of one service that are named; 256 services with as many must fit into a frame.
const NAMED_MAX: usize = 32;

/// Asks Registry for the services that are described.
#[derive(Clone, Copy, Debug)]
pub struct SurveyServices;

impl Message for SurveyServices {
    type Result = Vec<(Arc<Service>, Shown)>;
}

/// All services, in the order of their descriptions.
#[must_use]
pub fn report(all: &[(Arc<Service>, Shown)]) -> Value {
    let rows: Vec<Value> = all.iter().map(|(service, shown)| row(service, shown)).collect();
    json!({ "services": rows })
}

fn row(service: &Service, shown: &Shown) -> Value {
    let kind = match service.start {
        Start::Process(_) => "process",
        Start::UserUnit(_) => "user_unit",
        Start::SystemUnit(_) => "system_unit",
    };
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let named = service.objects.len().min(NAMED_MAX);
    json!({
        "objects": service.objects.iter().take(named).collect::<Vec<_>>(),
        "objects_left_out": service.objects.len().saturating_sub(named),
        "kind": kind,
        "name": service.name(),
        "state": shown.state,
        "left_ms": shown.left.map(millis),
        "alive": shown.alive,
        "starts": shown.starts,
        "failures": shown.failures,
        "starts_max": service.starts,
        "failed_ms": shown.last.as_ref().map(|(ago, _)| millis(*ago)),
        "failure": shown.last.as_ref().map(|(_, why)| why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_told_with_its_state_and_its_last_failure() {
        let start = Start::UserUnit("math.service".into());
        let service = Arc::new(Service::new((0..40).map(|n| format!("o{n}")), start));
        let shown = Shown {
            state: "resting",
            left: Some(Duration::from_millis(900)),
            alive: false,
            starts: 7,
            failures: 5,
            last: Some((Duration::from_secs(2), "exit status: 7".into())),
        };
        let told = report(&[(service, shown)]);
        let of = |pointer: &str| told.pointer(pointer).cloned().unwrap();
        assert_eq!(of("/services/0/objects").as_array().unwrap().len(), NAMED_MAX);
        for (key, value) in [
            ("objects_left_out", json!(8)),
            ("kind", json!("user_unit")),
            ("name", json!("math.service")),
            ("state", json!("resting")),
            ("left_ms", json!(900)),
            ("alive", json!(false)),
            ("starts", json!(7)),
            ("failures", json!(5)),
            ("starts_max", json!(5)),
            ("failed_ms", json!(2_000)),
            ("failure", json!("exit status: 7")),
        ] {
            assert_eq!(of(&format!("/services/0/{key}")), value, "{key}");
        }
    }
}

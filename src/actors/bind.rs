//! Where a broker is reached: its endpoints are opened, or taken as somebody else has opened them.
//!
//! Owns which of them may fail and which stand in for others. It accepts nobody; the Listener actors do. Called by [`super::broker`]
//! when it starts.

use super::builder::BrokerBuilder;
use super::outcome::StartError;
use crate::platform::passed::Passed;
use crate::transport::{self, BindError, BindOptions, Endpoint};

/// What was bound, and what was skipped with which reason.
type Bound = (Vec<transport::Listener>, Vec<(Endpoint, String)>);

impl BrokerBuilder {
    /// Listens on sockets that were passed to this process, as well. Each stands in the place of the endpoint that it is, if
    /// that was to be listened on; with any of them, the default endpoints are left alone. Their paths are neither locked nor removed.
    #[must_use]
    pub fn passed(mut self, passed: Vec<Passed>) -> Self {
        self.passed.extend(passed);
        self
    }

    /// Opens every endpoint, or none.
    pub(super) fn bind(&mut self) -> Result<Bound, StartError> {
        let mut sockets = Vec::new();
        for passed in self.passed.drain(..) {
            sockets.push(transport::Listener::passed(passed)?);
        }
        // What was passed stands in the place of the endpoint that it is, and of what nobody asked for.
        let passed: Vec<Endpoint> = sockets.iter().map(|socket| socket.endpoint().clone()).collect();
        self.listen.retain(|endpoint| !passed.contains(endpoint));
        if !passed.is_empty() {
            self.defaults.clear();
        }
        let mut skipped = Vec::new();
        let options = BindOptions {
            tls: self.tls.clone(),
            unix: self.unix,
            ..BindOptions::default()
        };
        for endpoint in &self.listen {
            let socket = transport::Listener::bind_with(endpoint, &options);
            sockets.push(socket.map_err(|source| StartError::Bind {
                endpoint: endpoint.clone(),
                source,
            })?);
        }
        for endpoint in &self.defaults {
            match transport::Listener::bind_with(endpoint, &options) {
                Ok(socket) => sockets.push(socket),
                // A broker of this user is there already; what holds a port without a name is somebody else.
                Err(source @ BindError::InUse { pid: Some(_), .. }) => {
                    return Err(StartError::Bind {
                        endpoint: endpoint.clone(),
                        source,
                    });
                }
                Err(error) => skipped.push((endpoint.clone(), error.to_string())),
            }
        }
        if sockets.is_empty() && !self.defaults.is_empty() {
            let all: Vec<&str> = skipped.iter().map(|(_, error)| error.as_str()).collect();
            return Err(StartError::NoEndpoint(all.join("; ")));
        }
        Ok((sockets, skipped))
    }
}

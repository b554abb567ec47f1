//! Protocols put together at run time.
//!
//! Owns the table from protocols to what answers them. Built by [`registry!`](crate::registry!) and by programs, asked by the serving side.

use super::dispatch::{Dispatch, Request};
use super::info::{ProtocolInfo, ProtocolMetadata};
use crate::client::{HandlerError, Response};
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Several protocols, each with what answers it. Cloning shares them.
#[derive(Clone, Default)]
pub struct ProtocolRegistry {
    entries: Arc<[(&'static ProtocolInfo, Arc<dyn Dispatch>)]>,
}

/// A registry in the making.
#[derive(Default)]
pub struct ProtocolRegistryBuilder {
    entries: Vec<(&'static ProtocolInfo, Arc<dyn Dispatch>)>,
    /// The first protocol that was asked for by its number, and that is not answered by what was given for it.
    missing: Option<NotAnswered>,
}

impl ProtocolRegistry {
    /// An empty registry, to be filled.
    #[must_use]
    pub fn builder() -> ProtocolRegistryBuilder {
        ProtocolRegistryBuilder::default()
    }

    /// The protocols in it, in the order in which they were added.
    #[must_use]
    pub fn list_protocols(&self) -> Vec<&'static ProtocolInfo> {
        self.entries.iter().map(|(info, _)| *info).collect()
    }
}

impl ProtocolRegistryBuilder {
    /// Adds what answers some protocols. Two versions of one protocol may be served beside each other; two of the same number may
    /// not, which the building tells.
    #[must_use]
    pub fn with(mut self, answers: impl Dispatch) -> Self {
        let answers: Arc<dyn Dispatch> = Arc::new(answers);
        let protocols = answers.protocols();
        self.entries
            .extend(protocols.into_iter().map(|info| (info, Arc::clone(&answers))));
        self
    }

    /// Adds one protocol, by its number, of those that `answers` has: `register(calc::PROTOCOL_ID, calc::PROTOCOL_NAME, receiver)`. The
    /// name is what an error calls it. That `answers` has no such protocol is told by the building.
    #[must_use]
    pub fn register(mut self, id: u64, name: impl Into<String>, answers: impl Dispatch) -> Self {
        let protocols = answers.protocols();
        match protocols.iter().find(|info| info.id == id) {
            Some(info) => self.entries.push((info, Arc::new(answers))),
            None => {
                let answered = protocols.iter().map(|info| info.name).collect();
                let name = name.into();
                self.missing.get_or_insert(NotAnswered { id, name, answered });
            }
        }
        self
    }

    /// Adds one protocol, by its type, of those that `answers` has: `register_auto::<calc::ProtocolMarker, _>(receiver)`. That `answers`
    /// has no such protocol is told by the building.
    #[must_use]
    pub fn register_auto<P: ProtocolMetadata, D: Dispatch>(self, answers: D) -> Self {
        self.register(P::PROTOCOL.id, P::PROTOCOL.name, answers)
    }

    /// The registry, of protocols that the program's source names.
    ///
    /// # Panics
    /// Two of them have the same number, or one has nothing that answers it. For what is only known at run time there is
    /// [`try_build`](Self::try_build).
    #[must_use]
    #[allow(
        clippy::panic,
        reason = "what a program's own source serves twice is a mistake that its first run shows"
    )]
    pub fn build(self) -> ProtocolRegistry {
        match self.try_build() {
            Ok(registry) => registry,
            Err(error) => panic!("{error}"),
        }
    }

    /// The registry.
    ///
    /// # Errors
    /// Two protocols have the same number: one could never answer. Or one was registered with what does not answer it.
    pub fn try_build(self) -> Result<ProtocolRegistry, RegistryError> {
        if let Some(missing) = self.missing {
            return Err(missing.into());
        }
        let mut seen: HashMap<u64, &'static ProtocolInfo> = HashMap::new();
        for (info, _) in &self.entries {
            if let Some(first) = seen.insert(info.id, info) {
                let names = [first.name, info.name];
                return Err(ServedTwice { id: info.id, names }.into());
            }
        }
        Ok(ProtocolRegistry {
            entries: self.entries.into(),
        })
    }
}

/// Why there is no registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Leave one of the two out.
    #[error(transparent)]
    ServedTwice(#[from] ServedTwice),
    /// Register it with the receiver of its own module.
    #[error(transparent)]
    NotAnswered(#[from] NotAnswered),
}

/// Two protocols of a registry have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} and {} have the same number, {id:016x}: one registry answers each protocol once", names[0], names[1])]
#[non_exhaustive]
pub struct ServedTwice {
    /// The number.
    pub id: u64,
    /// Their names, the first one's first.
    pub names: [&'static str; 2],
}

/// A protocol was registered with what does not answer it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} ({id:016x}) is registered with what does not answer it, but {}: register it with the receiver of its own module",
    listed(answered)
)]
#[non_exhaustive]
pub struct NotAnswered {
    /// The number.
    pub id: u64,
    /// The name that was given with it.
    pub name: String,
    /// The protocols that are answered.
    pub answered: Vec<&'static str>,
}

fn listed(answered: &[&'static str]) -> String {
    match answered {
        [] => "nothing".to_owned(),
        names => names.join(", "),
    }
}

/// A registry of protocols, each with its own handler: a type that implements the `Receive` of the protocol's module.
///
/// ```
/// # mod handlers {
/// actix_ipc::protocol::protocol! { pub mod clock { now return u64 } }
/// actix_ipc::protocol::protocol! { pub mod echo { say { text: String } return String } }
/// # pub struct Clock;
/// # impl clock::Receive for Clock { async fn now(&self) -> actix_ipc::protocol::Result<u64> { Ok(0) } }
/// # pub struct Echo;
/// # impl echo::Receive for Echo {
/// #     async fn say(&self, text: String) -> actix_ipc::protocol::Result<String> { Ok(text) }
/// # }
/// # }
/// # use handlers::*;
/// let served = actix_ipc::registry! {
///     clock => Clock,
///     echo => Echo,
/// };
/// assert_eq!(served.list_protocols().len(), 2);
/// ```
#[macro_export]
macro_rules! registry {
    ($($first:ident $(:: $rest:ident)* => $handler:expr),* $(,)?) => {
        $crate::protocol::ProtocolRegistry::builder()
            $(.with($first $(:: $rest)* ::Receiver::new($handler)))*
            .build()
    };
}

/// A registry of several protocols that one handler answers: `registry_for!(handler, [clock, echo])`.
#[macro_export]
macro_rules! registry_for {
    ($handler:expr, [$($first:ident $(:: $rest:ident)*),+ $(,)?]) => {{
        let handler = ::std::sync::Arc::new($handler);
        $crate::protocol::ProtocolRegistry::builder()
            $(.with($first $(:: $rest)* ::Receiver::from(::std::sync::Arc::clone(&handler))))+
            .build()
    }};
}

impl Dispatch for ProtocolRegistry {
    fn protocols(&self) -> Vec<&'static ProtocolInfo> {
        self.list_protocols()
    }

    fn dispatch(&self, request: Request) -> BoxFuture<'_, Result<Response, HandlerError>> {
        let id = request.protocol();
        match self.entries.iter().find(|(info, _)| info.id == id) {
            Some((_, answers)) => answers.dispatch(request),
            None => Box::pin(std::future::ready(Err(request.unknown(&self.list_protocols())))),
        }
    }
}

impl fmt::Debug for ProtocolRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.entries.iter().map(|(info, _)| info))
            .finish()
    }
}

impl fmt::Debug for ProtocolRegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.entries.iter().map(|(info, _)| info))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static ONE: ProtocolInfo = ProtocolInfo::new("tests", "one", 1, "", &[]);
    static LATER: ProtocolInfo = ProtocolInfo::new("tests", "one", 2, "", &[]);

    struct Serves(&'static ProtocolInfo);

    impl Dispatch for Serves {
        fn protocols(&self) -> Vec<&'static ProtocolInfo> {
            vec![self.0]
        }

        fn dispatch(&self, request: Request) -> BoxFuture<'_, Result<Response, HandlerError>> {
            Box::pin(std::future::ready(Err(request.unknown(&[self.0]))))
        }
    }

    #[test]
    fn versions_are_served_beside_each_other_and_none_twice() {
        let both = ProtocolRegistry::builder()
            .with(Serves(&ONE))
            .with(Serves(&LATER));
        assert_eq!(both.try_build().unwrap().list_protocols().len(), 2);
        let twice = ProtocolRegistry::builder()
            .with(Serves(&ONE))
            .with(Serves(&LATER))
            .with(Serves(&ONE));
        let error = twice.try_build().unwrap_err();
        let names = ["one", "one"];
        assert_eq!(error, RegistryError::from(ServedTwice { id: ONE.id, names }));
        assert!(error.to_string().contains("one"), "{error}");
    }

    #[test]
    fn a_protocol_is_registered_with_what_answers_it() {
        struct Marker;
        impl ProtocolMetadata for Marker {
            const PROTOCOL: &'static ProtocolInfo = &LATER;
        }
        let both = ProtocolRegistry::builder()
            .register(ONE.id, ONE.name, Serves(&ONE))
            .register_auto::<Marker, _>(Serves(&LATER));
        assert_eq!(both.build().list_protocols(), [&ONE, &LATER]);
        let wrong = ProtocolRegistry::builder()
            .register(7, "seven", Serves(&ONE))
            .register_auto::<Marker, _>(Serves(&ONE));
        let error = wrong.try_build().unwrap_err();
        assert_eq!(
            error.to_string(),
            "seven (0000000000000007) is registered with what does not answer it, but one: register it with the receiver of its own \
             module"
        );
    }

    #[test]
    #[should_panic(expected = "have the same number")]
    fn a_registry_that_a_program_builds_wrongly_says_so_at_once() {
        let _ = ProtocolRegistry::builder()
            .with(Serves(&ONE))
            .with(Serves(&ONE))
            .build();
    }
}

//! The broker's traffic as it tells it: what is asked for, and what comes.
//!
//! Owns the filter, the records as types, and that the traffic is asked for again when the connection was lost. It shows and writes
//! nothing. Called by `monitor`, `watch` and `record`.

use super::answers::Answers;
use super::ask::{BROKER, refused};
use crate::commands::session::PATIENCE;
use crate::exit::{Exit, Failure};
use crate::options::Options;
use actix_ipc::IpcClient;
use actix_ipc::client::{ConnectionEvent, ConnectionEvents, ReplyStream};
use actix_ipc::error::{CallError, ErrorCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::time::Duration;

/// How long a connection stands behind a stream that has ended, until the broker is asked again.
const STANDS: Duration = Duration::from_secs(5);
/// How long the broker may say nothing at all, before it is asked again: the most that a deadline can be.
const SILENCE: Duration = Duration::from_secs(3_600);

/// Which records are wanted. What is none is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    /// `call`, `reply`, `event`, `presence`; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) kinds: Vec<String>,
    /// A pattern of object names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<String>,
    /// A pattern of methods and topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<String>,
    /// One end's connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<u64>,
    /// One end's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u64>,
    /// Bytes of each payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payloads: Option<u64>,
    /// Records a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<u64>,
}

/// What the broker sends at once.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Batch {
    /// As they are.
    pub(crate) records: Vec<Box<RawValue>>,
    /// How many there were beside them since the last batch.
    pub(crate) dropped: u64,
    /// All that passed before this mark was told.
    pub(crate) mark: Option<u64>,
}

/// One record. What is not of its kind is nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// Microseconds since 1970.
    pub(crate) at_us: u64,
    /// `call`, `reply`, `event` or `presence`; there may be others.
    pub(crate) kind: String,
    /// What a call and its replies have in common.
    pub(crate) ticket: Option<u64>,
    /// Who sent it; none for the broker itself.
    pub(crate) from: Option<u64>,
    /// Who gets it; none where nobody does.
    pub(crate) to: Option<u64>,
    /// The object.
    pub(crate) object: Option<String>,
    /// The method or topic.
    pub(crate) member: Option<String>,
    /// Of its payload; of one that was never whole, of what had come.
    pub(crate) bytes: u64,
    /// A call without an answer.
    pub(crate) one_way: bool,
    /// The caller takes more than one answer.
    pub(crate) stream: bool,
    /// Items follow the call, which are not told.
    pub(crate) items: bool,
    /// The call's own deadline.
    pub(crate) deadline_ms: Option<u64>,
    /// Descriptors that were attached, which are not told.
    pub(crate) attachments: u64,
    /// What goes beside the payload.
    pub(crate) meta: Map<String, Value>,
    /// Entries of it that are not told.
    pub(crate) meta_left_out: u64,
    /// Text.
    pub(crate) payload: Option<String>,
    /// What is not text.
    pub(crate) payload_hex: Option<String>,
    /// Of the payload: a name, or a number that has none.
    pub(crate) encoding: Option<Value>,
    /// Not all of the payload is here.
    pub(crate) truncated: bool,
    /// It came in pieces and was never whole.
    pub(crate) pieces: bool,
    /// Of replies: whether it is the last of its call.
    pub(crate) last: Option<bool>,
    /// The name of the code.
    pub(crate) error: Option<String>,
    /// What the error says.
    pub(crate) text: Option<String>,
    /// How long the object had the call.
    pub(crate) us: Option<u64>,
    /// To how many an event was queued.
    pub(crate) subscribers: Option<u64>,
    /// The event is its topic's last value.
    pub(crate) retain: bool,
    /// Of presence: what happened.
    pub(crate) what: Option<String>,
    /// Of presence: to whom.
    pub(crate) peer: Option<u64>,
    /// Its process.
    pub(crate) pid: Option<u64>,
    /// Its user.
    pub(crate) uid: Option<u64>,
    /// What it declares to be.
    pub(crate) name: Option<String>,
    /// Of subscriptions: to a pattern.
    pub(crate) pattern: bool,
}

/// What comes.
#[derive(Debug)]
pub(crate) enum News {
    /// Records.
    Records(Batch),
    /// The connection was lost, and is waited for.
    Lost {
        /// Why.
        reason: String,
    },
    /// The connection was lost and is there again, or the broker began anew to tell: records are missing here.
    Interrupted {
        /// Why it was lost.
        reason: String,
        /// It is the same broker as before, whose numbers go on.
        same_broker: bool,
    },
}

/// The traffic, from the moment that [`open`](Self::open) is through.
#[derive(Debug)]
pub(crate) struct Tap<'a> {
    client: &'a IpcClient,
    filter: Filter,
    stream: ReplyStream<Box<RawValue>>,
    connection: ConnectionEvents,
    first: Option<Batch>,
    /// Why the stream has ended, as long as there is no other one.
    lost: Option<String>,
    /// That the connection was lost was told.
    told: bool,
    answers: Option<Answers>,
}

impl<'a> Tap<'a> {
    /// Asks for it and waits until the broker watches.
    ///
    /// # Errors
    /// When the broker does not let this client watch, has too many who watch, does not understand the filter, or does not answer.
    pub(crate) async fn open(
        client: &'a IpcClient,
        mut filter: Filter,
        options: &Options,
    ) -> Result<Self, Failure> {
        let answers = Answers::of(&mut filter);
        let connection = client.connection_events();
        let stream = ask(client, &filter);
        let mut tap = Self {
            client,
            filter,
            stream,
            connection,
            first: None,
            lost: None,
            told: false,
            answers,
        };
        let patience = options.timeout.unwrap_or(PATIENCE);
        let first = tokio::time::timeout(patience, tap.next_batch()).await;
        let silent = |_| Err(CallError::new(ErrorCode::Deadline, "the broker did not answer"));
        let first = first.unwrap_or_else(silent);
        tap.first = Some(first.map_err(|error| refused("monitor", error))?);
        Ok(tap)
    }

    /// Asks the broker to say when everything that has passed until now is told: the mark is in a batch then. A broker that knows no
    /// marks gives none.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn mark(&self, patience: Duration) -> Result<Option<u64>, CallError> {
        let asked = self.client.call(BROKER, "mark").deadline(patience);
        match asked.send::<_, u64>(&()).await {
            Ok(mark) => Ok(Some(mark)),
            Err(error) if error.code == ErrorCode::NoSuchMethod => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What comes next. Cancel safe.
    ///
    /// # Errors
    /// When nothing will come any more.
    pub(crate) async fn next(&mut self) -> Result<News, Failure> {
        if let Some(batch) = self.first.take() {
            return Ok(News::Records(batch));
        }
        if self.lost.is_some() {
            return self.again().await;
        }
        match self.next_batch().await {
            Ok(batch) => Ok(News::Records(batch)),
            Err(error) if error.code == ErrorCode::Deadline => {
                // Nothing happened for all that time, so that nothing is missing.
                self.stream = ask(self.client, &self.filter);
                Ok(News::Records(Batch::default()))
            }
            Err(error) if is_end(error.code) => {
                self.lost = Some(error.message);
                self.again().await
            }
            Err(error) => Err(refused("monitor", error)),
        }
    }

    async fn next_batch(&mut self) -> Result<Batch, CallError> {
        let item = self.stream.next().await;
        let item = item.unwrap_or_else(|| {
            Err(CallError::new(
                ErrorCode::ReplyLost,
                "the broker ended the stream",
            ))
        })?;
        let batch: Result<Batch, _> = serde_json::from_str(item.get());
        let mut batch = batch.map_err(|error| CallError::new(ErrorCode::Encoding, error.to_string()))?;
        if let Some(answers) = &mut self.answers {
            batch.records.retain(|record| answers.keeps(record));
        }
        Ok(batch)
    }

    /// Waits for the connection and asks again. Cancel safe: it waits for nothing else, and notes what it has heard.
    async fn again(&mut self) -> Result<News, Failure> {
        let same_broker = loop {
            let news = tokio::time::timeout(STANDS, self.connection.next()).await;
            match news {
                // The stream has ended, and the connection has not: the broker's own object was begun anew.
                Err(_) if self.client.is_connected() => break true,
                Err(_) => {}
                Ok(Some(ConnectionEvent::Reconnected { same_broker, .. })) => break same_broker,
                Ok(Some(ConnectionEvent::Lost { reason })) => {
                    self.lost = Some(reason.clone());
                    if !std::mem::replace(&mut self.told, true) {
                        return Ok(News::Lost { reason });
                    }
                }
                Ok(Some(ConnectionEvent::Closed { reason })) => return Err(ended(&reason)),
                Ok(Some(_)) => {}
                Ok(None) => return Err(ended("the client was closed")),
            }
        };
        self.told = false;
        self.stream = ask(self.client, &self.filter);
        if let Some(answers) = self.answers.as_mut().filter(|_| !same_broker) {
            answers.forget();
        }
        let reason = self.lost.take().unwrap_or_default();
        Ok(News::Interrupted { reason, same_broker })
    }
}

fn ended(reason: &str) -> Failure {
    Failure::new(Exit::Lost, format!("the connection ended: {reason}"))
}

/// Whether the broker, or the connection to it, is gone: a broker that stops in order takes its own object away before.
const fn is_end(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::BrokerGone
            | ErrorCode::NotConnected
            | ErrorCode::CalleeGone
            | ErrorCode::Draining
            | ErrorCode::NoSuchObject
    )
}

fn ask(client: &IpcClient, filter: &Filter) -> ReplyStream<Box<RawValue>> {
    client.call(BROKER, "monitor").deadline(SILENCE).stream(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_wanted_is_asked_for() {
        assert_eq!(serde_json::to_string(&Filter::default()).unwrap(), "{}");
        let filter = Filter {
            kinds: vec!["call".into()],
            object: Some("math".into()),
            payloads: Some(256),
            ..Filter::default()
        };
        assert_eq!(
            serde_json::to_value(&filter).unwrap(),
            json!({"kinds": ["call"], "object": "math", "payloads": 256})
        );
    }

    #[test]
    fn records_of_every_kind_are_read() {
        let batch: Batch = serde_json::from_str(
            r#"{"records":[{"at_us":1,"kind":"call","ticket":9,"from":7,"to":null,"object":"math","member":"add","bytes":12},
                {"at_us":2,"kind":"reply","ticket":9,"from":null,"to":7,"object":"math","member":null,"bytes":0,"last":true,"error":"NoSuchObject","us":null},
                {"at_us":3,"kind":"presence","what":"connected","peer":7,"pid":null,"uid":1000,"name":"demo"},
                {"at_us":4,"kind":"later","unheard_of":{}}],"dropped":3}"#,
        )
        .unwrap();
        assert_eq!(batch.dropped, 3);
        let records: Vec<Record> = batch
            .records
            .iter()
            .map(|raw| serde_json::from_str(raw.get()).unwrap())
            .collect();
        assert_eq!((records[0].ticket, records[0].to), (Some(9), None));
        assert_eq!(
            (records[1].error.as_deref(), records[1].last),
            (Some("NoSuchObject"), Some(true))
        );
        assert_eq!(
            (records[2].what.as_deref(), records[2].peer),
            (Some("connected"), Some(7))
        );
        assert_eq!(records[3].kind, "later");
    }
}

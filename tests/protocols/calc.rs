//! Protocols for the tests of objects, written by hand: what the macros make, small enough to see all of it.
//!
//! Owns two versions of `calc`, another `calc` of another crate, and `admin`, which has a command of the same name; their senders; and
//! a [`Dispatch`] made of closures.

use actix_ipc::client::{Call, HandlerError, ReplyStream, Response};
use actix_ipc::error::CallError;
use actix_ipc::protocol::{
    Answer, Caller, CommandInfo, Dispatch, FieldInfo, ProtocolInfo, ProtocolSender, Request, Shape,
};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

const fn field(name: &'static str, type_name: &'static str) -> FieldInfo {
    FieldInfo::new(name, type_name, "")
}

const fn command(name: &'static str, request: Shape, answer: Answer) -> CommandInfo {
    CommandInfo::new(name, "", request, None, answer)
}

pub static ECHO: CommandInfo = CommandInfo::new(
    "echo",
    "Says it again.",
    Shape::Fields(&[FieldInfo::new("message", "String", "What to say.")]),
    None,
    Answer::One(Shape::Fields(&[field("response", "String")])),
);
static COMMANDS: [CommandInfo; 8] = [
    CommandInfo::new(
        "echo",
        "Says it again.",
        Shape::Fields(&[FieldInfo::new("message", "String", "What to say.")]),
        None,
        Answer::One(Shape::Fields(&[field("response", "String")])),
    ),
    command("notify", Shape::Fields(&[field("event", "u64")]), Answer::Nothing),
    command(
        "wait",
        Shape::Fields(&[field("name", "String")]),
        Answer::One(Shape::Empty),
    ),
    command("fail", Shape::Empty, Answer::One(Shape::Empty)),
    command("panic", Shape::Empty, Answer::One(Shape::Empty)),
    command("get_status", Shape::Empty, Answer::One(Shape::Plain("i64"))),
    command(
        "pair",
        Shape::Tuple(&[field("0", "i32"), field("1", "String")]),
        Answer::One(Shape::Plain("String")),
    ),
    command("count", Shape::Empty, Answer::Stream(Shape::Plain("u64"))),
];
pub static CALC_1: ProtocolInfo = ProtocolInfo::new("tests", "calc", 1, "Sums and sayings.", &COMMANDS);
pub static CALC_2: ProtocolInfo = ProtocolInfo::new("tests", "calc", 2, "", &COMMANDS_2);
pub static CALC_3: ProtocolInfo = ProtocolInfo::new("tests", "calc", 3, "", &[]);
pub static OTHER_CALC: ProtocolInfo = ProtocolInfo::new("elsewhere", "calc", 1, "", &[]);
pub static ADMIN: ProtocolInfo = ProtocolInfo::new("tests", "admin", 1, "", &ADMIN_COMMANDS);
static COMMANDS_2: [CommandInfo; 1] = [command(
    "echo",
    Shape::Fields(&[field("message", "String"), field("times", "u32")]),
    Answer::One(Shape::Fields(&[field("response", "String")])),
)];
static ADMIN_COMMANDS: [CommandInfo; 2] = [
    command(
        "echo",
        Shape::Fields(&[field("message", "String")]),
        Answer::One(Shape::Plain("String")),
    ),
    command("stop", Shape::Empty, Answer::Nothing),
];

#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
pub struct Echo {
    pub message: String,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
pub struct EchoTimes {
    pub message: String,
    pub times: u32,
}

#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
pub struct Echoed {
    pub response: String,
}

#[derive(Serialize, Deserialize, Debug)]
pub struct Event {
    pub event: u64,
}

#[derive(Serialize, Deserialize, Debug)]
pub struct Wait {
    pub name: String,
}

#[derive(Serialize, Deserialize, Debug)]
pub struct Nothing;

/// A sender of one protocol.
macro_rules! sender {
    ($name:ident, $($info:ident),+) => {
        #[derive(Clone, Debug)]
        pub struct $name(pub Caller);

        impl ProtocolSender for $name {
            fn new(caller: Caller) -> Self {
                Self(caller)
            }
            fn caller(&self) -> &Caller {
                &self.0
            }
            fn protocols() -> Vec<&'static ProtocolInfo> {
                vec![$(&$info),+]
            }
        }
    };
}
sender!(Calc, CALC_1);
sender!(Calc2, CALC_2);
sender!(Calc3, CALC_3);
sender!(OtherCalc, OTHER_CALC);
sender!(Admin, ADMIN);
sender!(Both, CALC_1, ADMIN);

fn info(name: &str) -> &'static CommandInfo {
    COMMANDS.iter().find(|info| info.name == name).unwrap()
}

impl Calc {
    pub fn echo(&self, message: &str) -> Call<Echoed> {
        let message = message.to_owned();
        self.0.call(&CALC_1, info("echo"), &Echo { message })
    }

    pub fn wait(&self, name: &str) -> Call<()> {
        let name = name.to_owned();
        self.0.call(&CALC_1, info("wait"), &Wait { name })
    }

    pub fn plain(&self, command: &str) -> Call<i64> {
        self.0.call(&CALC_1, info(command), &Nothing)
    }

    pub fn count(&self) -> ReplyStream<u64> {
        self.0.stream(&CALC_1, info("count"), &Nothing)
    }

    pub async fn notify(&self, event: u64) -> Result<(), CallError> {
        self.0.notify(&CALC_1, info("notify"), &Event { event }).await
    }
}

impl Calc2 {
    pub fn echo(&self, message: &str, times: u32) -> Call<Echoed> {
        let message = message.to_owned();
        self.0
            .call(&CALC_2, &COMMANDS_2[0], &EchoTimes { message, times })
    }
}

impl Calc3 {
    /// A command that only this version has.
    pub fn echo(&self) -> Call<Echoed> {
        self.0.call(&CALC_3, &COMMANDS_2[0], &Nothing)
    }
}

type Run = Box<dyn Fn(Request) -> BoxFuture<'static, Result<Response, HandlerError>> + Send + Sync>;

/// What answers a protocol, as closures.
pub struct Table {
    info: &'static ProtocolInfo,
    commands: HashMap<&'static str, Run>,
}

impl Table {
    pub fn new(info: &'static ProtocolInfo) -> Self {
        Self {
            info,
            commands: HashMap::new(),
        }
    }

    pub fn on<F>(mut self, command: &'static str, run: impl Fn(Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response, HandlerError>> + Send + 'static,
    {
        self.commands
            .insert(command, Box::new(move |request| Box::pin(run(request))));
        self
    }
}

impl Dispatch for Table {
    fn protocols(&self) -> Vec<&'static ProtocolInfo> {
        vec![self.info]
    }

    fn dispatch(&self, request: Request) -> BoxFuture<'_, Result<Response, HandlerError>> {
        let run = self
            .commands
            .get(request.command())
            .filter(|_| request.protocol() == self.info.id);
        match run {
            Some(run) => run(request),
            None => Box::pin(std::future::ready(Err(request.unknown(&[self.info])))),
        }
    }
}

/// What the handlers of a test have done, and what lets them go on.
#[derive(Debug, Default)]
pub struct Desk {
    log: Mutex<Vec<String>>,
    changed: Notify,
    released: Mutex<Vec<String>>,
}

impl Desk {
    pub fn note(&self, what: impl Into<String>) {
        self.log.lock().unwrap().push(what.into());
        self.changed.notify_waiters();
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Lets those who wait under this name go on, also those who come later.
    pub fn release(&self, name: &str) {
        self.released.lock().unwrap().push(name.to_owned());
        self.changed.notify_waiters();
    }

    pub async fn released(&self, name: &str) {
        self.until(|| self.released.lock().unwrap().iter().any(|has| has == name))
            .await;
    }

    /// Waits until something was noted.
    pub async fn noted(&self, what: &str) {
        let all = self.until(|| self.log().iter().any(|line| line == what));
        tokio::time::timeout(Duration::from_secs(30), all)
            .await
            .unwrap_or_else(|_| panic!("no {what} in {:?}", self.log()));
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if holds() {
                return;
            }
            changed.await;
        }
    }
}

/// Version 1 of calc: `wait` notes its begin and its end and waits to be released in between, `notify` notes its event.
pub fn calc(desk: &Arc<Desk>) -> Table {
    let (waiting, noting) = (Arc::clone(desk), Arc::clone(desk));
    Table::new(&CALC_1)
        .on("echo", |request| async move {
            let Echo { message } = request.decode()?;
            request.reply(&Echoed { response: message })
        })
        .on("notify", move |request| {
            let desk = Arc::clone(&noting);
            async move {
                let Event { event } = request.decode()?;
                desk.note(format!("event {event}"));
                if event == 0 {
                    desk.released("events").await;
                }
                request.reply(&())
            }
        })
        .on("wait", move |request| {
            let desk = Arc::clone(&waiting);
            async move {
                let Wait { name } = request.decode()?;
                desk.note(format!("begin {name}"));
                desk.released(&name).await;
                desk.note(format!("end {name}"));
                request.reply(&())
            }
        })
        .on("fail", |_| async {
            Err(HandlerError::new("not today").named("calc.closed"))
        })
        .on("panic", |_| async { panic!("the sky fell") })
        .on("get_status", |request| async move {
            request.decode::<Nothing>()?;
            request.reply(&7_i64)
        })
        .on("pair", |request| async move {
            let (number, text): (i32, String) = request.decode()?;
            request.reply(&format!("{number}{text}"))
        })
        .on("count", |_| async move {
            let endless = futures::stream::iter(0_u64..).map_ok_payload();
            Ok(Response::stream(endless))
        })
}

/// Numbers as the items of an answer.
trait Items {
    fn map_ok_payload(
        self,
    ) -> impl futures::Stream<Item = Result<actix_ipc::Payload, HandlerError>> + Send + 'static;
}

impl<S: futures::Stream<Item = u64> + Send + 'static> Items for S {
    fn map_ok_payload(
        self,
    ) -> impl futures::Stream<Item = Result<actix_ipc::Payload, HandlerError>> + Send + 'static {
        use futures::StreamExt;
        self.map(|number| {
            Ok(actix_ipc::Payload::encode(
                actix_ipc::Encoding::POSTCARD,
                &number,
            )?)
        })
    }
}

pub fn calc_2() -> Table {
    Table::new(&CALC_2).on("echo", |request| async move {
        let EchoTimes { message, times } = request.decode()?;
        let response = message.repeat(times as usize);
        request.reply(&Echoed { response })
    })
}

pub fn admin() -> Table {
    Table::new(&ADMIN)
        .on("echo", |request| async move {
            let Echo { message } = request.decode()?;
            request.reply(&format!("admin: {message}"))
        })
        .on("stop", |request| async move { request.reply(&()) })
}

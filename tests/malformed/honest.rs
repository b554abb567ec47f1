//! Two honest clients that stand beside every case: nothing that others do may reach them.

use crate::language::Wanted;
use crate::wire::{Got, Wire};
use actix_ipc::message::{Draft, Encoding, Flags, Kind};
use actix_ipc::transport::Endpoint;
use std::collections::VecDeque;

pub struct Honest {
    /// Calls, publishes, and watches who is there.
    caller: Wire,
    /// Serves `honest` and hears the topic `honest tick`.
    pub worker: Wire,
    /// What came beside what was asked for.
    aside: VecDeque<Got>,
    early: VecDeque<Got>,
    served: VecDeque<Got>,
    last_id: u64,
    baseline: String,
    /// The open call to the case's object.
    called: Option<u64>,
    /// The case's open call at the worker.
    held: Option<u64>,
}

impl Honest {
    pub async fn start(endpoint: &Endpoint) -> Self {
        let (mut caller, mut worker) = (Wire::connect(endpoint).await, Wire::connect(endpoint).await);
        caller.greet().await.unwrap();
        worker.greet().await.unwrap();
        let mut honest = Self {
            caller,
            worker,
            aside: VecDeque::new(),
            early: VecDeque::new(),
            served: VecDeque::new(),
            last_id: 10,
            baseline: String::new(),
            called: None,
            held: None,
        };
        let watch = Draft::new(Kind::Watch, 1).aux(2);
        assert_eq!(honest.ask(&watch).await.unwrap().kind, Kind::Done);
        for draft in [
            Draft::new(Kind::Register, 1).key(b"honest"),
            Draft::new(Kind::Subscribe, 2).pair("honest", "tick"),
        ] {
            honest.worker.send_frame(&draft).await;
            assert_eq!(honest.at_worker(Kind::Done).await.unwrap().id, draft.id);
        }
        honest.baseline = honest.list().await.unwrap();
        honest
    }

    fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The caller's next frame.
    async fn next(&mut self) -> Result<Got, String> {
        match self.early.pop_front() {
            Some(got) => Ok(got),
            None => self
                .caller
                .read()
                .await?
                .ok_or_else(|| "an honest connection was closed".into()),
        }
    }

    /// Sends a request of the caller and reads until its answer.
    async fn ask(&mut self, draft: &Draft<'_>) -> Result<Got, String> {
        self.caller.send_frame(draft).await;
        self.answer(draft.id).await
    }

    async fn answer(&mut self, id: u64) -> Result<Got, String> {
        loop {
            let got = self.next().await?;
            let answers = matches!(got.kind, Kind::Done | Kind::Error | Kind::Reply | Kind::Accepted);
            if got.id == id && answers {
                return Ok(got);
            }
            match got.kind {
                Kind::Notice => self.aside.push_back(got),
                Kind::PublishCredit | Kind::CallCredit => {}
                _ => return Err(format!("the honest caller gets {got:?} {:?}", got.text())),
            }
        }
    }

    /// The next frame of this kind at the worker.
    async fn at_worker(&mut self, kind: Kind) -> Result<Got, String> {
        if let Some(at) = self.served.iter().position(|got| got.kind == kind) {
            return Ok(self.served.remove(at).unwrap());
        }
        loop {
            let got = self.worker.read().await?.ok_or("the honest worker was closed")?;
            if got.kind == kind {
                return Ok(got);
            }
            // Credit and pieces of a case's call are its business.
            if !matches!(got.kind, Kind::CallPiece | Kind::ReplyCredit | Kind::Cancel) {
                return Err(format!("the honest worker gets {got:?}"));
            }
            if got.kind == Kind::Cancel {
                self.served.push_back(got);
            }
        }
    }

    async fn list(&mut self) -> Result<String, String> {
        let id = self.id();
        Ok(self.ask(&Draft::new(Kind::List, id)).await?.text())
    }

    /// Waits until the broker tells that this connection is gone.
    pub async fn until_gone(&mut self, peer: u64) -> Result<(), String> {
        loop {
            let known = self
                .aside
                .iter()
                .any(|got| got.aux == 4 && got.origin == Some(peer));
            if known {
                self.aside.clear();
                return Ok(());
            }
            match self
                .caller
                .read()
                .await?
                .ok_or("an honest connection was closed")?
            {
                got if got.kind == Kind::Notice => self.aside.push_back(got),
                // The end of its call may be told before.
                got => self.early.push_back(got),
            }
        }
    }

    /// A call, an event, and the list of those who are there.
    pub async fn is_served(&mut self) -> Result<(), String> {
        let id = self.id();
        let payload = id.to_le_bytes();
        let call = Draft::new(Kind::Call, id)
            .pair("honest", "echo")
            .payload(Encoding::RAW, &payload);
        self.caller.send_frame(&call).await;
        let got = loop {
            // What a case has called before comes first.
            let got = self.at_worker(Kind::Call).await?;
            if got.key == b"honest\0echo" && got.payload == payload {
                break got;
            }
        };
        let reply = Draft::new(Kind::Reply, got.id).payload(Encoding::RAW, &got.payload);
        self.worker.send_frame(&reply).await;
        let answer = self.answer(id).await?;
        if (answer.kind, &answer.payload[..]) != (Kind::Reply, &payload[..]) {
            return Err(format!("{answer:?} {:?} instead of the reply", answer.text()));
        }
        let id = self.id();
        let tick = Draft::new(Kind::Publish, id)
            .flags(Flags::ACK)
            .pair("honest", "tick")
            .payload(Encoding::RAW, &payload);
        let accepted = self.ask(&tick).await?;
        let event = self.at_worker(Kind::Event).await?;
        if (accepted.aux, event.id, event.aux, &event.payload[..]) != (1, 2, 0, &payload[..]) {
            return Err(format!("{accepted:?}, then {event:?}"));
        }
        let id = self.id();
        let topic = Draft::new(Kind::Publish, id).flags(Flags::ACK).pair("t", "e");
        let accepted = self.ask(&topic).await?;
        if accepted.aux != 0 {
            return Err(format!("{} subscriptions are left", accepted.aux));
        }
        let list = self.list().await?;
        if list != self.baseline {
            return Err(format!("left behind: {list}"));
        }
        Ok(())
    }

    /// The case's connection registers `mine` and gets a call; returns its ticket.
    pub async fn call_case(&mut self, case: &mut Wire, flags: Flags) -> Result<u64, String> {
        case.send_frame(&Draft::new(Kind::Register, 1).key(b"mine")).await;
        let done = case.read().await?;
        if done.as_ref().is_none_or(|got| got.kind != Kind::Done) {
            return Err(format!("{done:?}"));
        }
        let id = self.id();
        self.called = Some(id);
        let call = Draft::new(Kind::Call, id).flags(flags).pair("mine", "m");
        self.caller.send_frame(&call).await;
        match case.read().await? {
            Some(got) if got.kind == Kind::Call => Ok(got.id),
            other => Err(format!("{other:?} instead of the call")),
        }
    }

    /// How the call of `mine` ends.
    pub async fn gets(&mut self, wanted: &Wanted) -> Result<(), String> {
        let got = self.end_of_call().await?;
        if wanted.fits(&got, 0) {
            Ok(())
        } else {
            Err(format!("the caller gets {got:?} {:?}", got.text()))
        }
    }

    /// The last frame of the call to the case's object.
    async fn end_of_call(&mut self) -> Result<Got, String> {
        let id = self.called.take().ok_or("no call is open")?;
        let mut closing = false;
        loop {
            let got = self.next().await?;
            let (more, continued) = (got.flags.has(Flags::MORE), got.flags.has(Flags::CONTINUED));
            let last = match got.kind {
                Kind::Reply if continued => {
                    closing = !more;
                    false
                }
                Kind::Reply => !more,
                Kind::ReplyPiece => closing && !continued,
                Kind::Error => true,
                Kind::Notice => {
                    self.aside.push_back(got);
                    continue;
                }
                Kind::CallCredit => continue,
                _ => return Err(format!("the honest caller gets {got:?}")),
            };
            if got.id != id {
                return Err(format!(
                    "the honest caller gets {got:?} instead of the end of {id}"
                ));
            }
            if last {
                return Ok(got);
            }
        }
    }

    /// The case's connection is gone: what it was asked has ended, and what it had asked was taken back, once.
    pub async fn calls_ended(&mut self) -> Result<(), String> {
        if self.called.is_some() {
            let end = self.end_of_call().await?;
            if end.kind != Kind::Error || end.aux != 5 {
                return Err(format!("the caller gets {end:?} when its callee is gone"));
            }
        }
        if let Some(ticket) = self.held.take() {
            let cancel = self.at_worker(Kind::Cancel).await?;
            if cancel.id != ticket {
                return Err(format!("{cancel:?} instead of the end of {ticket}"));
            }
        }
        match self.served.pop_front() {
            None => Ok(()),
            Some(got) => Err(format!("the honest worker got {got:?}")),
        }
    }

    /// The case's connection opens call 5 at the worker, which does not answer it.
    pub async fn be_called(&mut self, case: &Wire, flags: Flags) -> Result<(), String> {
        let call = Draft::new(Kind::Call, 5).flags(flags).pair("honest", "hold");
        case.send_frame(&call).await;
        let got = self.at_worker(Kind::Call).await?;
        self.held = Some(got.id);
        if got.key == b"honest\0hold" {
            Ok(())
        } else {
            Err(format!("{got:?}"))
        }
    }

    /// Says goodbye, and waits for the broker's.
    pub async fn end(mut self) {
        for wire in [&mut self.caller, &mut self.worker] {
            wire.send_frame(&Draft::new(Kind::Goodbye, 0).aux(1)).await;
            let rest = wire.rest().await.unwrap();
            assert_eq!(rest.last().map(|got| got.kind), Some(Kind::Goodbye));
        }
    }
}

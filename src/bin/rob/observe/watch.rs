//! `rob watch`: what is there, and then every change of it, over lost connections.
//!
//! Owns where news come from: names and connections from the presence that every client may watch, subscriptions from the broker's
//! traffic, which needs the right to monitor. `seen` has the set and the layout. Called by `commands`.

use super::ask::{get, is_passing};
use super::line::{Tone, paint};
use super::monitor::parsed;
use super::seen::{self, Kind, Seen, Thing, What};
use super::shape::Topics;
use super::subscribed::{Partial, subscription, subscriptions};
use super::tap::{Filter, News, Tap};
use super::within;
use super::words::unix_micros;
use crate::commands::session::Session;
use crate::exit::{Exit, Failure};
use crate::options::Options;
use crate::output::{Output, compact};
use crate::say::warn;
use actix_ipc::IpcClient;
use actix_ipc::client::{self, ConnectionEvent, ConnectionEvents, Notice, WatchScope};
use actix_ipc::error::ErrorCode;
use actix_ipc::message::{Origin, Pattern};
use clap::Args;
use futures::FutureExt;

/// `rob watch`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub(crate) struct Watch {
    /// Only names of objects, and names that connections declare, that match: * is one level, ** all that are left.
    #[arg(value_name = "PATTERN")]
    pub(crate) pattern: Option<String>,
    /// Names of objects; without any of these three, all are watched.
    #[arg(long)]
    pub(crate) names: bool,
    /// Connections.
    #[arg(long)]
    pub(crate) connections: bool,
    /// Subscriptions; needs the right to monitor.
    #[arg(long)]
    pub(crate) subscriptions: bool,
    /// Leave out what is there already.
    #[arg(long)]
    pub(crate) changes: bool,
}

impl Watch {
    const fn all(&self) -> bool {
        !self.names && !self.connections && !self.subscriptions
    }

    const fn scope(&self) -> Option<WatchScope> {
        match (self.names || self.all(), self.connections || self.all()) {
            (true, true) => Some(WatchScope::Both),
            (true, false) => Some(WatchScope::Names),
            (false, true) => Some(WatchScope::Connections),
            (false, false) => None,
        }
    }
}

/// Shows what is there and what changes, until as much changed as was asked for.
pub(crate) async fn run(wanted: &Watch, session: &mut Session) -> Result<(), Failure> {
    let Session {
        client,
        options,
        output,
    } = session;
    let (client, options): (&IpcClient, &Options) = (client, options);
    let mut watching = Watching::start(client, options, wanted, output).await?;
    watching.heading()?;
    if !wanted.changes {
        watching.present()?;
    }
    while watching.left != Some(0) {
        let next = watching.next();
        match options.timeout {
            None => next.await?,
            Some(patience) => tokio::time::timeout(patience, next).await.unwrap_or_else(|_| {
                let text = format!("watch: no change within {} s", patience.as_secs_f64());
                Err(Failure::new(Exit::Timeout, text))
            })?,
        }
    }
    Ok(())
}

/// Everything that one watch has.
struct Watching<'a> {
    client: &'a IpcClient,
    options: &'a Options,
    output: &'a mut Output,
    colours: bool,
    pattern: Option<Pattern>,
    watch: Option<client::Watch>,
    tap: Option<Tap<'a>>,
    connection: ConnectionEvents,
    seen: Seen,
    surveyed_us: u64,
    partial: Partial,
    left: Option<u64>,
}

impl<'a> Watching<'a> {
    async fn start(
        client: &'a IpcClient,
        options: &'a Options,
        wanted: &Watch,
        output: &'a mut Output,
    ) -> Result<Self, Failure> {
        let wrong = |error| Failure::new(Exit::Usage, format!("watch: {error}"));
        let pattern = wanted
            .pattern
            .as_deref()
            .map(Pattern::new)
            .transpose()
            .map_err(wrong)?;
        let connection = client.connection_events();
        let watch = match wanted.scope() {
            None => None,
            Some(scope) => match presence(client, options, scope, pattern.as_ref()).await {
                Err(failure) if wanted.all() && is_denied(&failure) => {
                    warn(&format!("connections are not shown: {}", failure.message));
                    Some(presence(client, options, WatchScope::Names, pattern.as_ref()).await?)
                }
                watch => Some(watch?),
            },
        };
        let tap = match wanted.subscriptions || wanted.all() {
            true => tap(client, options, wanted).await?,
            false => None,
        };
        let colours = output.coloured();
        let mut watching = Self {
            client,
            options,
            output,
            colours,
            pattern,
            watch,
            tap,
            connection,
            seen: Seen::default(),
            surveyed_us: 0,
            partial: Partial::default(),
            left: options.count,
        };
        watching.seen = watching.survey().await?.unwrap_or_default();
        Ok(watching)
    }

    /// Everything that is there now; none when the connection was lost meanwhile.
    async fn survey(&mut self) -> Result<Option<Seen>, Failure> {
        let mut now = Seen::default();
        if self.tap.is_some() {
            let topics: Topics = match get(self.client, self.options, "topics").await {
                Ok(topics) => topics,
                // The connection tells that it was lost, and when it is there again.
                Err(failure) if is_passing(&failure) && failure.exit != Exit::Timeout => return Ok(None),
                Err(failure) => return Err(failure),
            };
            self.surveyed_us = unix_micros();
            if topics.left_out > 0 {
                warn(&format!(
                    "the broker leaves out {} topics; their subscriptions are not shown",
                    topics.left_out
                ));
            }
            self.partial = Partial::of(&topics);
            for (thing, text) in Partial::warnings(&topics) {
                if self.matches(&thing) {
                    warn(&text);
                }
            }
            for thing in subscriptions(&topics).filter(|thing| self.matches(thing)) {
                now.add(thing);
            }
        }
        if let Some(watch) = &mut self.watch {
            // Answered behind the notices of what is there. That it may be refused does not matter.
            match within(self.options, "watch", self.client.list()).await {
                Err(failure) if failure.exit == Exit::Timeout => return Err(failure),
                Err(_) if !self.client.is_connected() => return Ok(None),
                _ => {}
            }
            while let Some(Some(notice)) = watch.next().now_or_never() {
                match change(&notice) {
                    Some((What::Vanished, thing)) => {
                        now.remove(&thing);
                    }
                    Some((_, thing)) => now.add(thing),
                    // All of it is told again.
                    None => now.retain(|thing| thing.kind == Kind::Subscription),
                }
            }
        }
        let own = self.client.peer_id().0;
        now.retain(|thing| thing.peer != own);
        Ok(Some(now))
    }

    fn matches(&self, thing: &Thing) -> bool {
        self.pattern
            .as_ref()
            .is_none_or(|pattern| pattern.as_str() == thing.name || pattern.matches(&thing.name))
    }

    fn heading(&mut self) -> Result<(), Failure> {
        if self.output.json() || self.options.quiet {
            return Ok(());
        }
        let text = paint(self.colours, Tone::Quiet, &seen::heading());
        Ok(self.output.text(&format!("{text}\n"))?)
    }

    fn present(&mut self) -> Result<(), Failure> {
        let at_us = unix_micros();
        let all: Vec<Thing> = self.seen.all().into_iter().cloned().collect();
        for thing in all {
            self.show(at_us, What::Present, &thing, false)?;
        }
        Ok(())
    }

    /// The next news.
    async fn next(&mut self) -> Result<(), Failure> {
        let (watch, tap) = (&mut self.watch, &mut self.tap);
        let notice = async {
            match watch {
                Some(watch) => watch.next().await,
                None => std::future::pending().await,
            }
        };
        let news = async {
            match tap {
                Some(tap) => tap.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            notice = notice => match notice {
                Some(Notice::Interrupted) => self.recover(false).await,
                Some(Notice::Missed(count)) => {
                    warn(&format!("{count} changes were missed here, which came faster than they were read"));
                    Ok(())
                }
                Some(notice) => change(&notice).map_or(Ok(()), |(what, thing)| self.tell(unix_micros(), what, thing)),
                None => Err(Failure::new(Exit::Lost, "watch: the connection ended")),
            },
            news = news => match news? {
                News::Lost { .. } => self.recover(false).await,
                News::Interrupted { .. } => self.recover(true).await,
                News::Records(batch) => {
                    if batch.dropped > 0 {
                        warn(&format!("{} changes of subscriptions were dropped here", batch.dropped));
                    }
                    for record in batch.records.iter().map(|raw| parsed(raw.get())) {
                        if let Some((what, thing)) = subscription(&record).filter(|(_, thing)| self.matches(thing)) {
                            self.tell(record.at_us, what, thing)?;
                        }
                    }
                    Ok(())
                }
            },
        }
    }

    /// A change, unless it is known or this client's own.
    fn tell(&mut self, at_us: u64, what: What, thing: Thing) -> Result<(), Failure> {
        if thing.peer == self.client.peer_id().0 || self.left == Some(0) {
            return Ok(());
        }
        // A subscription may be there twice, so only what the survey has crossed is known by being there.
        let crossed = thing.kind != Kind::Subscription || at_us <= self.surveyed_us;
        match what {
            // Of those that the survey did not name nobody knows more than that they were there.
            What::Vanished
                if !self.seen.remove(&thing) && (at_us <= self.surveyed_us || !self.partial.has(&thing)) =>
            {
                return Ok(());
            }
            What::Appeared if crossed && self.seen.has(&thing) => return Ok(()),
            What::Appeared | What::Present => self.seen.add(thing.clone()),
            What::Vanished => {}
        }
        self.show(at_us, what, &thing, false)?;
        self.left = self.left.map(|left| left.saturating_sub(1));
        Ok(())
    }

    /// Waits until the connection is there again, and says what is different.
    async fn recover(&mut self, mut tapped: bool) -> Result<(), Failure> {
        warn("the connection was lost; trying again");
        let now = loop {
            self.reconnected().await?;
            while let Some(tap) = self.tap.as_mut().filter(|_| !tapped) {
                tapped = matches!(tap.next().await?, News::Interrupted { .. });
            }
            if let Some(now) = self.survey().await? {
                break now;
            }
            tapped = false;
        };
        let (vanished, appeared, unchanged) = self.seen.changed(&now);
        self.seen = now;
        warn(&format!(
            "connected again: {} vanished and {} appeared meanwhile, {unchanged} as before",
            vanished.len(),
            appeared.len()
        ));
        let at_us = unix_micros();
        for (what, things) in [(What::Vanished, vanished), (What::Appeared, appeared)] {
            for thing in things {
                if self.left != Some(0) {
                    self.show(at_us, what, &thing, true)?;
                    self.left = self.left.map(|left| left.saturating_sub(1));
                }
            }
        }
        Ok(())
    }

    async fn reconnected(&mut self) -> Result<(), Failure> {
        loop {
            match self.connection.next().await {
                Some(ConnectionEvent::Reconnected { lost, .. }) => {
                    if let Some((what, error)) = lost.first() {
                        let text = format!("watch: connected again, but not {what}: {error}");
                        return Err(Failure::new(Exit::Refused, text));
                    }
                    return Ok(());
                }
                Some(ConnectionEvent::Closed { reason }) => {
                    return Err(Failure::new(Exit::Lost, format!("watch: {reason}")));
                }
                Some(_) => {}
                None => return Err(Failure::new(Exit::Lost, "watch: the connection ended")),
            }
        }
    }

    fn show(&mut self, at_us: u64, what: What, thing: &Thing, away: bool) -> Result<(), Failure> {
        let line = if self.output.json() {
            compact(&seen::program(at_us, what, thing, away).to_string())
        } else {
            let tone = match what {
                What::Present => Tone::Quiet,
                What::Appeared => Tone::Reply,
                What::Vanished => Tone::Error,
            };
            let (time, word, rest) = seen::people(at_us, what, thing);
            format!(
                "{}  {}  {rest}",
                paint(self.colours, Tone::Quiet, &time),
                paint(self.colours, tone, &word)
            )
        };
        Ok(self.output.text(&format!("{line}\n"))?)
    }
}

/// Names and connections that come and go.
async fn presence(
    client: &IpcClient,
    options: &Options,
    scope: WatchScope,
    pattern: Option<&Pattern>,
) -> Result<client::Watch, Failure> {
    match pattern {
        None => within(options, "watch", client.watch(scope)).await,
        Some(pattern) => within(options, "watch", client.watch_pattern(scope, pattern.as_str())).await,
    }
}

/// Whether the policy does not let this client see it.
fn is_denied(failure: &Failure) -> bool {
    let code = failure.call.as_ref().map(|error| error.code);
    code == Some(ErrorCode::Denied)
}

/// The traffic's part; none when this client may not have it and did not ask for it by name.
async fn tap<'a>(
    client: &'a IpcClient,
    options: &Options,
    wanted: &Watch,
) -> Result<Option<Tap<'a>>, Failure> {
    let filter = Filter {
        kinds: vec!["presence".to_owned()],
        ..Filter::default()
    };
    match Tap::open(client, filter, options).await {
        Ok(tap) => Ok(Some(tap)),
        Err(failure) if wanted.subscriptions => Err(failure),
        Err(failure) => {
            warn(&format!("subscriptions are not shown: {}", failure.message));
            Ok(None)
        }
    }
}

fn thing(kind: Kind, name: &str, origin: &Origin) -> Thing {
    Thing {
        kind,
        name: name.to_owned(),
        topic: None,
        pattern: false,
        peer: origin.peer.0,
        pid: origin.pid,
        uid: (origin.uid != u32::MAX).then_some(origin.uid),
    }
}

/// What a notice says; nothing when it is about the watch itself.
fn change(notice: &Notice) -> Option<(What, Thing)> {
    match notice {
        Notice::NameAppeared { name, owner } => Some((What::Appeared, thing(Kind::Name, name, owner))),
        Notice::NameVanished { name, owner } => Some((What::Vanished, thing(Kind::Name, name, owner))),
        Notice::ConnectionAppeared { name, peer } => {
            Some((What::Appeared, thing(Kind::Connection, name, peer)))
        }
        Notice::ConnectionVanished { name, peer } => {
            Some((What::Vanished, thing(Kind::Connection, name, peer)))
        }
        _ => None,
    }
}

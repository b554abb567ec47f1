//! `rob top` on a terminal: samples, keys and signals, until somebody has seen enough.
//!
//! Owns the order of these; `view` decides what they mean. A broker that is gone for a while is waited for. Called by `top`.

use super::draw::{self, Looks};
use super::sample::{Sample, Sampler};
use super::screen::{Input, Screen, keys};
use super::view::{Asked, View};
use super::{Top, cannot, clock, ended};
use crate::colour;
use crate::commands::session::{Session, unless_ended};
use crate::exit::{Exit, Failure};
use crate::observe::ask::is_passing;
use crate::options::Options;
use actix_ipc::IpcClient;
use actix_ipc::platform::signals::EndSignals;
use actix_ipc::platform::suspend::Suspension;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::time::Interval;

/// Looks again and again.
struct Looker {
    sampler: Sampler,
    clock: Interval,
    client: IpcClient,
    options: Options,
}

type Looking = Pin<Box<dyn Future<Output = (Looker, Result<Sample, Failure>)>>>;

impl Looker {
    /// The next look. A future of its own, so that keys are heard while the broker is slow.
    fn next(mut self) -> Looking {
        Box::pin(async move {
            self.clock.tick().await;
            let sample = self.sampler.look(&self.client, &self.options).await;
            (self, sample)
        })
    }
}

/// Shows the broker until a key or a signal ends it.
pub(super) async fn run(wanted: &Top, session: &Session) -> Result<(), Failure> {
    let mut signals = EndSignals::receive_at_terminal().map_err(|error| cannot(&error))?;
    let looker = Looker {
        sampler: Sampler::default(),
        clock: clock(wanted.interval),
        client: session.client.clone(),
        options: session.options.clone(),
    };
    // Before the terminal is taken: a refusal is read where the command was typed.
    let first = async {
        let (looker, first) = looker.next().await;
        first.map(|first| (looker, first))
    };
    let (looker, first) = unless_ended(&mut signals, first).await?;
    let mut view = View::new(wanted.tab, first);
    let mut looking = looker.next();
    let mut screen = Screen::take()?;
    let mut inputs = keys()?;
    let looks = Looks {
        colours: colour::wanted(&io::stdout()),
    };
    let mut left = session.options.count;
    let mut seconds = clock(Duration::from_secs(1));
    let mut answered = Instant::now();
    let mut suspension = Suspension::receive().map_err(|error| cannot(&error))?;
    while left != Some(0) {
        screen.draw(|frame| draw::screen(frame, &mut view, looks))?;
        tokio::select! {
            biased;
            signal = signals.next() => return Err(ended(Exit::of_signal(signal))),
            () = suspension.asked() => screen.suspend(&mut suspension).await?,
            input = inputs.recv() => match input {
                Some(Input::Key(key)) => match view.key(key) {
                    Asked::Draw => {}
                    Asked::Quit => return Ok(()),
                    Asked::Interrupted => return Err(ended(Exit::Interrupted)),
                    Asked::Suspended => screen.suspend(&mut suspension).await?,
                },
                Some(Input::Resized) => {}
                Some(Input::Ended(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            _ = seconds.tick() => {
                let silent = answered.elapsed();
                if silent > wanted.interval.saturating_mul(2).saturating_add(Duration::from_secs(1)) && view.trouble.is_none() {
                    view.trouble = Some("the broker does not answer: what is shown is old".into());
                }
            }
            (looker, sample) = &mut looking => {
                looking = looker.next();
                match sample {
                    Ok(sample) => {
                        answered = Instant::now();
                        view.show(sample);
                        left = left.map(|left| left.saturating_sub(1));
                    }
                    Err(failure) if is_passing(&failure) => view.trouble = Some(trouble(&failure)),
                    Err(failure) => return Err(failure),
                }
            }
        }
    }
    Ok(())
}

/// Why there is nothing newer, short enough for a narrow terminal.
fn trouble(failure: &Failure) -> String {
    let text = match failure.exit {
        Exit::Timeout => "the broker does not answer: what is shown is old",
        _ => "the broker is gone; waiting for it",
    };
    text.to_owned()
}

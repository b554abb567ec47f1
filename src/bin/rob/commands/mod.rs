//! The commands: one file for each, with what it takes and what it does.
//!
//! Owns which command gets which connection. The command line as a whole is in `arguments`, what a command works with in `session`, the
//! layout in `output` and `tables`, the exit codes in `exit`. Called by `main`.

pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod describe;
mod list;
pub(crate) mod listen;
pub(crate) mod man;
pub(crate) mod news;
pub(crate) mod ping;
mod protocols;
pub(crate) mod send;
pub(crate) mod serve;
pub(crate) mod session;
mod tables;
pub(crate) mod wait;

use crate::arguments::{Command, Rob};
use crate::bench;
use crate::exit::Failure;
use crate::observe;
use crate::options::Options;
use session::Session;

/// Carries the command out.
pub(crate) async fn run(rob: Rob) -> Result<(), Failure> {
    let options = &rob.options;
    match rob.command {
        Command::Call(wanted) => once(options, async |session| call::run(&wanted, session).await).await,
        Command::Send(wanted) => once(options, async |session| send::run(&wanted, session).await).await,
        Command::Listen(wanted) => {
            lasting(options, async |session| listen::run(&wanted, session).await).await
        }
        Command::List => once(options, list::run).await,
        Command::Describe(wanted) => {
            once(options, async |session| describe::run(&wanted, session).await).await
        }
        Command::Wait(wanted) => wait::run(&wanted, options).await,
        Command::Ping(wanted) => once(options, async |session| ping::run(&wanted, session).await).await,
        Command::Serve(wanted) => lasting(options, async |session| serve::run(&wanted, session).await).await,
        Command::Completions(wanted) => completions::run(&wanted),
        Command::Man(wanted) => man::run(&wanted, options.quiet),
        Command::Observe(wanted) => observe::run(&wanted, options).await,
        // Has connections of its own.
        Command::Bench(wanted) => bench::run(&wanted, options).await,
    }
}

/// A command on a connection whose loss is its end.
async fn once(
    options: &Options,
    command: impl AsyncFnOnce(&mut Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    at_work(Session::open(options, false).await?, command).await
}

/// A command that goes on when the connection was lost and made again.
async fn lasting(
    options: &Options,
    command: impl AsyncFnOnce(&mut Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    at_work(Session::open(options, true).await?, command).await
}

async fn at_work(
    mut session: Session,
    command: impl AsyncFnOnce(&mut Session) -> Result<(), Failure>,
) -> Result<(), Failure> {
    command(&mut session).await?;
    session.close().await;
    Ok(())
}

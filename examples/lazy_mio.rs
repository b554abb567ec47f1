//! A lazy server inside a program whose own event loop is made with `mio`: it sleeps until there is something to do.
//!
//! It waits for two descriptors, its own pipe and the server's, and for as long as the server says. Here a thread writes into the pipe
//! and sends commands; a real program has its devices and sockets there.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "examples talk to people"
)]

#[cfg(unix)]
mod program {
    use actix_ipc::lazy::{IpcServer, IpcServerCommand, client_send};
    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Token};
    use serde::{Deserialize, Serialize};
    use std::io::{ErrorKind, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    const SERVER: Token = Token(0);
    const DEVICE: Token = Token(1);

    #[derive(Debug, Serialize, Deserialize)]
    enum Command {
        HowManyTicks,
        Stop,
    }

    struct State {
        device: UnixStream,
        ticks: u64,
        stopping: bool,
    }

    impl State {
        /// Counts the ticks that have come.
        fn read_device(&mut self) -> std::io::Result<()> {
            let mut bytes = [0; 64];
            loop {
                match self.device.read(&mut bytes) {
                    Ok(0) => return Ok(()),
                    Ok(count) => self.ticks += count as u64 / 4,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }
    }

    impl IpcServerCommand for Command {
        type Response = u64;
        type Context<'a> = &'a mut State;

        fn process<'a, 'b>(self, state: &'b mut Self::Context<'a>) -> u64 {
            // A command may come between the look at the device and that at the server: it must not overtake the ticks before it.
            state.stopping |= matches!(self, Self::Stop) || state.read_device().is_err();
            state.ticks
        }
    }

    pub(crate) fn run() -> Result<(), Box<dyn std::error::Error>> {
        let path = std::env::temp_dir().join(format!("actix-ipc-lazy-mio-{}.sock", std::process::id()));
        let mut server = IpcServer::<Command>::new(&path)?;
        let (device, mut other_end) = UnixStream::pair()?;
        device.set_nonblocking(true)?;
        let user = std::thread::spawn(move || {
            for _ in 0..3 {
                other_end.write_all(b"tick").map_err(|error| error.to_string())?;
            }
            let before = client_send(&Command::HowManyTicks, &path).map_err(|error| error.to_string())?;
            client_send(&Command::Stop, &path)
                .map(|after| (before, after))
                .map_err(|error| error.to_string())
        });

        let mut poll = Poll::new()?;
        let mut events = Events::with_capacity(16);
        poll.registry()
            .register(&mut SourceFd(&server.raw_fd()), SERVER, Interest::READABLE)?;
        poll.registry()
            .register(&mut SourceFd(&device.as_raw_fd()), DEVICE, Interest::READABLE)?;
        let mut state = State {
            device,
            ticks: 0,
            stopping: false,
        };
        while !state.stopping {
            match poll.poll(&mut events, server.next_timeout()) {
                // A signal: round again.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            state.read_device()?;
            server.handle_new_messages(&mut state)?;
        }
        let (before, after) = user.join().map_err(|_| "the user's thread panicked")??;
        println!("ticks when asked: {before}, when stopped: {after}");
        Ok(())
    }
}

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    match program::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lazy_mio: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(unix))]
fn main() {
    println!("the lazy server is for Unix");
}

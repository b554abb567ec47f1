//! A lazy server inside a program whose own event loop is made with `mio`: it sleeps until there is something to do.
//!
//! It waits for two descriptors, its own pipe and the server's, and for as long as the server says. Here a thread writes into the pipe
//! and sends commands; a real program has its devices and sockets there.
#![allow(clippy::print_stdout, reason = "examples talk to people")]

#[cfg(unix)]
mod program {
    use actix_ipc::lazy::{IpcServer, IpcServerCommand, client_send};
    use mio::unix::SourceFd;
    use mio::{Events, Interest, Poll, Token};
    use serde::{Deserialize, Serialize};
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    const SERVER: Token = Token(0);
    const DEVICE: Token = Token(1);

    #[derive(Debug, Serialize, Deserialize)]
    enum Command {
        HowManyTicks,
        Stop,
    }

    #[derive(Default)]
    struct State {
        ticks: u64,
        stopping: bool,
    }

    impl IpcServerCommand for Command {
        type Response = u64;
        type Context<'a> = &'a mut State;

        fn process<'a, 'b>(self, state: &'b mut Self::Context<'a>) -> u64 {
            state.stopping |= matches!(self, Self::Stop);
            state.ticks
        }
    }

    pub(crate) fn run() -> Result<(), Box<dyn std::error::Error>> {
        let path = std::env::temp_dir().join(format!("actix-ipc-lazy-mio-{}.sock", std::process::id()));
        let mut server = IpcServer::<Command>::new(&path)?;
        let (mut device, mut other_end) = UnixStream::pair()?;
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
        let mut state = State::default();
        while !state.stopping {
            poll.poll(&mut events, server.next_timeout())?;
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = device.read(&mut bytes) {
                state.ticks += count as u64 / 4;
            }
            server.handle_new_messages(&mut state)?;
        }
        let (before, after) = user.join().map_err(|_| "the user's thread panicked")??;
        println!("ticks when asked: {before}, when stopped: {after}");
        Ok(())
    }
}

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    program::run()
}

#[cfg(not(unix))]
fn main() {
    println!("the lazy server is for Unix");
}

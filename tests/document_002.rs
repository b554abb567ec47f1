//! The snippets of the older lazy server's document, with nothing changed but their `use` lines, and what they promise.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    elided_lifetimes_in_paths,
    clippy::use_self,
    reason = "the snippets are as the document has them"
)]
#![cfg(unix)]

use actix_ipc::lazy::{IpcServer, IpcServerCommand, client_send};
use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};

#[derive(Subcommand, Serialize, Deserialize, Debug)]
enum ClientCommand {
    Print { payload: String },
    Add { a: u64, b: u64 },
    Push { x: u64 },
}

impl IpcServerCommand for ClientCommand {
    type Response = ClientResponse;
    type Context<'a> = &'a mut Vec<u64>;
    fn process<'a, 'b>(self, context: &'b mut Self::Context<'a>) -> ClientResponse {
        match self {
            ClientCommand::Print { payload } => {
                println!("Print command received: {}", payload);
                ClientResponse::PrintAck
            }
            ClientCommand::Add { a, b } => {
                let c = a + b;
                println!("Add command received: {} + {} = {}", a, b, c);
                ClientResponse::Add { c }
            }
            ClientCommand::Push { x } => {
                println!("Push command received: {}", x);
                context.push(x);
                ClientResponse::Push { x }
            }
        }
    }
}

#[derive(Serialize, Deserialize, Debug)]
enum ClientResponse {
    /// A simple ack
    PrintAck,
    /// The sum result
    Add { c: u64 },
    /// The value pushed
    Push { x: u64 },
}

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: ClientCommand,
}

#[test]
fn the_documents_server_and_its_client_speak_to_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ipc-server-path-example.sock");
    let socket_path = path.to_str().unwrap();
    let server = IpcServer::<ClientCommand>::new(socket_path).unwrap();

    let mut server = server;
    let mut values = vec![];
    let answers = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let commands = [
                vec!["cli", "print", "hello"],
                vec!["cli", "add", "1", "2"],
                vec!["cli", "push", "7"],
            ];
            commands.map(|words| {
                let Cli { command } = Cli::parse_from(words);
                client_send(&command, socket_path).unwrap()
            })
        });
        let mut handled = 0;
        while handled < 3 {
            let context = &mut values;
            handled += server.handle_new_messages(context).unwrap();
            std::thread::yield_now();
        }
        client.join().unwrap()
    });
    assert!(matches!(
        answers,
        [
            ClientResponse::PrintAck,
            ClientResponse::Add { c: 3 },
            ClientResponse::Push { x: 7 }
        ]
    ));
    assert_eq!(values, [7]);
}

/// The bytes that `docs/lazy.md` shows.
#[test]
fn the_bytes_are_those_of_the_page() {
    use std::io::{Read, Write};
    let page = include_str!("../docs/lazy.md");
    let bytes = |who: &str| -> Vec<u8> {
        let line = page.lines().find(|line| line.starts_with(who)).unwrap();
        let words = line.split_whitespace().skip(1);
        words.map(|word| u8::from_str_radix(word, 16).unwrap()).collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut server = IpcServer::<ClientCommand>::new(&path).unwrap();
    let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    client.write_all(&bytes("client ")).unwrap();
    assert_eq!(server.handle_new_messages(&mut Vec::new()).unwrap(), 1);
    let mut answer = vec![0; bytes("server ").len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, bytes("server "));
}

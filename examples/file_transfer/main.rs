//! Sends files: a request with an answer, one-way chunks that wait while the server is slow, progress pushed by the server, a
//! checksum at the end, and resumption after a broken connection. Files of any size pass through a few MiB of memory.
//!
//! ```sh
//! cargo run --example file_transfer                                      # demo: both halves in one process
//! cargo run --example file_transfer -- --server --folder received        # terminal 1
//! cargo run --example file_transfer -- --client --file Cargo.lock        # terminal 2
//! cargo run --example file_transfer -- --client --size 256M --hold-at 50 # end the server and start it again meanwhile
//! ```

#[macro_use]
#[path = "../program/mod.rs"]
mod program;
mod client;
mod part;
mod protocol;
mod server;
mod source;
mod transfer;

use actix_ipc::Endpoint;
use actix_ipc::protocol::{RpcClient, RpcServer};
use clap::Parser;
use client::{News, Plan, Progress, ProgressReceiver, Sent, send};
use program::Ended;
use protocol::FileSender;
use server::Server;
use source::Source;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use transfer::human;

#[derive(Parser)]
#[command(
    name = "file_transfer",
    about = "Sends files, with progress, a checksum and resumption"
)]
struct Cli {
    /// Takes files until Ctrl-C.
    #[arg(long, group = "mode")]
    server: bool,
    /// Sends a file.
    #[arg(long, group = "mode")]
    client: bool,
    /// Both in one process; so it is without any of these.
    #[arg(long, group = "mode")]
    demo: bool,
    /// Where they meet: unix:/path, tcp:host:port or pipe:name.
    #[arg(long, requires = "mode", conflicts_with = "demo", value_parser = actix_ipc::client::parse_address)]
    addr: Option<Endpoint>,
    /// With --server: where files go. Otherwise into one of the user's own, in ~/.cache.
    #[arg(long, requires = "server", conflicts_with_all = ["client", "demo"])]
    folder: Option<PathBuf>,
    /// With --server: the largest file that is taken.
    #[arg(long, default_value = "4G", value_parser = size, requires = "server", conflicts_with_all = ["client", "demo"])]
    max_size: u64,
    /// With --client: what is sent. Otherwise it is made up.
    #[arg(long, requires = "client", conflicts_with_all = ["server", "demo"])]
    file: Option<PathBuf>,
    /// With --client: the name at the server. Otherwise that of the file, or made-up.bin. One client at a time sends a name: who asks
    /// last has it.
    #[arg(long, requires = "client", conflicts_with_all = ["server", "demo"])]
    name: Option<String>,
    /// With --client: how much is made up, in bytes or with K, M or G behind.
    #[arg(long, default_value = "8M", value_parser = size, requires = "client",
          conflicts_with_all = ["file", "server", "demo"])]
    size: u64,
    /// With --client: bytes in a chunk.
    #[arg(long, default_value = "256K", value_parser = chunk, requires = "client", conflicts_with_all = ["server", "demo"])]
    chunk: u32,
    /// With --client: waits at this hundredth of the file until the connection breaks, to see how it is resumed.
    #[arg(long, requires = "client", conflicts_with_all = ["server", "demo"], value_parser = clap::value_parser!(u64).range(1..100))]
    hold_at: Option<u64>,
}

/// `1536`, `64K`, `256M`, `2G`.
fn size(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (text.get(..at), 1 << 10),
        Some((at, 'm' | 'M')) => (text.get(..at), 1 << 20),
        Some((at, 'g' | 'G')) => (text.get(..at), 1 << 30),
        _ => (Some(text), 1_u64),
    };
    let number = digits.and_then(|digits| digits.parse::<u64>().ok());
    let bytes = number.and_then(|number| number.checked_mul(unit));
    bytes.ok_or_else(|| "write a number of bytes, or one with K, M or G behind it".to_owned())
}

fn chunk(text: &str) -> Result<u32, String> {
    let bytes = u32::try_from(size(text)?).ok();
    let bytes = bytes.filter(|bytes| transfer::CHUNK.contains(bytes));
    bytes.ok_or_else(|| {
        format!(
            "chunks have {} to {} bytes",
            transfer::CHUNK.start(),
            transfer::CHUNK.end()
        )
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    program::exit("file_transfer", run(Cli::parse()).await)
}

async fn run(cli: Cli) -> Ended {
    let addr = match &cli.addr {
        Some(addr) => addr.clone(),
        None => program::usual("file_transfer")?,
    };
    match (cli.server, cli.client) {
        (true, _) => serve(addr, cli).await,
        (_, true) => transmit(addr, cli).await,
        _ => demo().await,
    }
}

async fn serve(addr: Endpoint, cli: Cli) -> Ended {
    let mut interrupt = program::Interrupt::listen()?;
    let folder = match cli.folder {
        Some(folder) => folder,
        None => usual_folder()?,
    };
    say!("Files go to {}", folder.display());
    let handler = interrupt
        .before(Server::new(folder.clone(), cli.max_size))
        .await?;
    let handler = handler.map_err(|error| format!("{}: {error}", folder.display()))?;
    let server = interrupt.before(RpcServer::bind(addr, handler)).await??;
    say!("Server listening on {}", server.endpoint());
    interrupt.comes().await;
    let _ = interrupt.before(server.shutdown()).await;
    tell_memory();
    say!("Server ended");
    Ok(())
}

/// A folder of the user's own, in which nobody else can put links or files.
fn usual_folder() -> Result<PathBuf, &'static str> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = match cfg!(windows) {
        true => set("LOCALAPPDATA").map(PathBuf::from),
        false => set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache"))),
    };
    let folder = cache.map(|cache| cache.join("actix-ipc-file-transfer"));
    folder.ok_or("this user has no folder of its own here: say with --folder where files go")
}

async fn connect(addr: Endpoint) -> Result<(RpcClient<FileSender>, News), Box<dyn Error + Send + Sync>> {
    let (progress, news) = Progress::new();
    let connected = RpcClient::connect(addr, ProgressReceiver::new(progress)).await;
    Ok((program::reached(connected, "file_transfer", "--server")?, news))
}

async fn transmit(addr: Endpoint, cli: Cli) -> Ended {
    let (mut source, name) = match &cli.file {
        Some(path) => (Source::open(path).await?, name_of(path)),
        None => (Source::made(cli.size), "made-up.bin".to_owned()),
    };
    let mut interrupt = program::Interrupt::listen()?;
    say!("Connecting to {addr}");
    let (client, news) = interrupt.before(connect(addr)).await??;
    say!("Connected!");
    let plan = Plan {
        name: cli.name.unwrap_or(name),
        chunk: cli.chunk,
        hold_at: cli.hold_at,
        held: Arc::default(),
    };
    let sent = interrupt.before(send(&client, &news, &mut source, plan)).await;
    tell_memory();
    let Ok(sent) = sent else {
        // Dropping the client takes leave too, and waits for nobody.
        return Err("interrupted; send it again to resume".into());
    };
    let Sent { checksum, .. } = sent?;
    let _ = interrupt.before(client.close()).await;
    say!("File transfer completed successfully (checksum {checksum})");
    Ok(())
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// The most memory that this process has had, where the system tells.
fn tell_memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    if let Some(kibibytes) = kibibytes {
        say!("Peak memory: {kibibytes} KiB");
    }
}

async fn serve_files(addr: Endpoint, folder: PathBuf) -> Result<RpcServer, Box<dyn Error + Send + Sync>> {
    Ok(RpcServer::bind(addr, Server::new(folder, 1 << 30).await?).await?)
}

async fn demo() -> Ended {
    say!("=== File Transfer: Demo Mode ===");
    let (folder, addr) = program::temporary("file-transfer")?;
    let files = folder.path().join("received");
    let server = serve_files(addr.clone(), files.clone()).await?;
    let (client, news) = connect(server.endpoint().clone()).await?;
    let mut source = Source::made(4 << 20);
    let plan = Plan {
        name: "demo.bin".to_owned(),
        chunk: 64 << 10,
        hold_at: Some(50),
        held: Arc::default(),
    };
    // The client holds in the middle until its connection is gone; then another server takes the place of the first.
    let held = Arc::clone(&plan.held);
    let replaced = async {
        held.notified().await;
        say!("--- the server ends in the middle, and another one starts ---");
        server.shutdown().await;
        serve_files(addr, files).await
    };
    let (sent, server) = tokio::join!(send(&client, &news, &mut source, plan), replaced);
    let (sent, server) = (sent?, server?);
    say!("Total size: {}", human(sent.size));
    say!("Transfer success: {}", sent.success);
    say!("Checksum: {}", sent.checksum);
    client.close().await;
    server.shutdown().await;
    say!("Chunked file transfer with progress tracking, a checksum and resumption");
    Ok(())
}

//! A broker inside an actix-web server: an actor answers for an object, another counts events, web requests reach both.
//!
//! `cargo run --example embedded -- --demo` asks itself and ends. Without `--demo` it goes on until Ctrl+C; every other argument is an endpoint to
//! listen on, so that other processes take part: `cargo run --example embedded -- unix:/tmp/house.sock`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example tells its story"
)]

use actix::{Actor, Context, Handler};
use actix_ipc::actors::{
    Broker, CallOptions, LocalHandle, ObjectCall, PublishOptions, ServeOptions, TopicEvent,
};
use actix_ipc::error::{CallError, ErrorCode};
use actix_ipc::message::Payload;
use actix_web::{App, HttpResponse, HttpServer, web};
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The object `thermometer`: methods `read` and `set`.
struct Thermometer {
    celsius: f64,
    local: LocalHandle,
}

impl Actor for Thermometer {
    type Context = Context<Self>;
}

impl Handler<ObjectCall> for Thermometer {
    type Result = ();

    fn handle(&mut self, call: ObjectCall, _: &mut Self::Context) {
        let answered = match &*call.method {
            "read" => call.responder.reply_json(&self.celsius),
            "set" => match call.payload.decode::<f64>() {
                Ok(celsius) => {
                    self.celsius = celsius;
                    // A handler cannot wait for the publish window; a reading that does not fit is replaced by the next.
                    let retained = PublishOptions::default().retained();
                    let published =
                        self.local
                            .try_publish("thermometer", "changed", &call.payload, &retained);
                    match published {
                        Ok(()) => call.responder.reply_json(&celsius),
                        Err(error) => call.responder.error(error),
                    }
                }
                Err(error) => {
                    let error = CallError::new(ErrorCode::Invalid, error.to_string());
                    call.responder.error(error)
                }
            },
            _ => call.responder.error(ErrorCode::NoSuchMethod),
        };
        if let Err(error) = answered {
            eprintln!("an answer was not sent: {error}");
        }
    }
}

/// Counts what it hears, and answers for the object `counter`.
#[derive(Default)]
struct Counter {
    events: u64,
    missed: u64,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<TopicEvent> for Counter {
    type Result = ();

    fn handle(&mut self, event: TopicEvent, _: &mut Self::Context) {
        self.events = self.events.saturating_add(1);
        self.missed = self.missed.saturating_add(event.missed.into());
        println!(
            "   the counter hears {} {}: {:?}",
            event.object, event.event, event.payload
        );
    }
}

impl Handler<ObjectCall> for Counter {
    type Result = ();

    fn handle(&mut self, call: ObjectCall, _: &mut Self::Context) {
        let counts = serde_json::json!({ "events": self.events, "missed": self.missed });
        if let Err(error) = call.responder.reply_json(&counts) {
            eprintln!("an answer was not sent: {error}");
        }
    }
}

/// A web request becomes a call, wherever the object is served.
async fn ask(local: &LocalHandle, object: &str, method: &str, payload: Payload) -> HttpResponse {
    let options = CallOptions::default().deadline(Duration::from_secs(5));
    match local.call_with(object, method, payload, options).await {
        Ok(answer) => HttpResponse::Ok()
            .content_type("application/json")
            .body(answer.payload.bytes),
        Err(error) if error.code == ErrorCode::NoSuchObject => {
            HttpResponse::ServiceUnavailable().body(error.to_string())
        }
        Err(error) => HttpResponse::BadGateway().body(error.to_string()),
    }
}

async fn temperature(local: web::Data<LocalHandle>) -> HttpResponse {
    ask(&local, "thermometer", "read", Payload::default()).await
}

async fn set_temperature(local: web::Data<LocalHandle>, celsius: web::Json<f64>) -> HttpResponse {
    match Payload::json(&*celsius) {
        Ok(payload) => ask(&local, "thermometer", "set", payload).await,
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}

async fn events(local: web::Data<LocalHandle>) -> HttpResponse {
    ask(&local, "counter", "count", Payload::default()).await
}

/// One HTTP request with nothing but a socket; returns the body of a 200.
async fn request(server: SocketAddr, method: &str, path: &str, body: &str) -> Result<String, Box<dyn Error>> {
    let mut stream = tokio::net::TcpStream::connect(server).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(format!("{method} {path}: {answer}").into()),
    }
}

/// The program asks itself over HTTP and compares.
async fn demonstrate(server: SocketAddr) -> Result<(), Box<dyn Error>> {
    let steps = [
        ("GET", "/temperature", "", "20.0"),
        ("PUT", "/temperature", "21.5", "21.5"),
        ("GET", "/temperature", "", "21.5"),
        ("GET", "/events", "", r#"{"events":2,"missed":0}"#),
    ];
    for (method, path, body, expected) in steps {
        let answer = request(server, method, path, body).await?;
        println!("   {method} {path} {body} -> {answer}");
        if answer != expected {
            return Err(format!("{method} {path}: {answer} instead of {expected}").into());
        }
    }
    Ok(())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let demo = arguments.iter().any(|argument| argument == "--demo");

    println!("1. A broker starts inside this program.");
    let mut builder = Broker::builder();
    for endpoint in arguments.iter().filter(|argument| *argument != "--demo") {
        builder = builder.listen(endpoint.parse()?);
    }
    let broker = builder.start()?;
    for endpoint in broker.endpoints() {
        println!("   other processes: rob --addr {endpoint} call thermometer read");
    }

    println!("2. Two actors become the objects \"thermometer\" and \"counter\"; the counter subscribes.");
    let local = broker.local("house")?;
    let thermometer = Thermometer {
        celsius: 20.0,
        local: local.clone(),
    };
    let counter = Counter::default().start();
    let says = ServeOptions::default().description(&serde_json::json!({ "methods": ["read", "set"] }));
    local
        .serve_with("thermometer", thermometer.start().recipient(), says)
        .await?;
    local.serve("counter", counter.clone().recipient()).await?;
    local
        .publish_acknowledged(
            "thermometer",
            "changed",
            Payload::json(&20.0)?,
            PublishOptions::default().retained(),
        )
        .await?;
    local
        .subscribe("thermometer", "changed", counter.recipient())
        .await?;

    println!("3. A web server answers from them.");
    let web = broker.local("web")?;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(web.clone()))
            .route("/temperature", web::get().to(temperature))
            .route("/temperature", web::put().to(set_temperature))
            .route("/events", web::get().to(events))
    })
    .workers(2)
    .bind(("127.0.0.1", if demo { 0 } else { 8080 }))?;
    let address = server.addrs().first().copied().ok_or("no address")?;
    println!("   http://{address}/temperature");
    let server = server.run();
    if demo {
        let handle = server.handle();
        let serving = actix::spawn(server);
        let result = demonstrate(address).await;
        handle.stop(true).await;
        serving.await??;
        result?;
    } else {
        println!("   Ctrl+C ends it.");
        server.await?;
    }

    println!("4. The broker stops: {}.", broker.stop().await);
    Ok(())
}

#[actix_web::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embedded: {error}");
            ExitCode::FAILURE
        }
    }
}

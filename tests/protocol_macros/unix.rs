//! The names of tokio_ipc for a server at a path, with its sender both ways.

use actix_ipc::protocol::{
    ProtocolSender, Result, RpcClient, RpcServer, RpcServerHandler, protocol, protocol_handler,
    protocol_sender,
};

protocol! {
    pub mod math { add { a: i32, b: i32 } -> { result: i32 }; }
}
protocol! {
    pub mod text { join(String, String) return String; }
}

struct Both;

protocol_sender!(BothSender impl [math, text]);
protocol_handler!(Both impl [math, text]);

impl math::Receive for Both {
    async fn add(&self, a: i32, b: i32) -> Result<math::add::Response> {
        Ok(math::add::Response { result: a + b })
    }
}

impl text::Receive for Both {
    async fn join(&self, left: String, right: String) -> Result<String> {
        Ok(left + &right)
    }
}

struct Server;

impl RpcServerHandler for Server {
    type ReceiveRpc = BothReceiver<Both>;
    type SendRpc = BothSender;

    async fn on_rpc_connect(&self, _: &BothSender) -> Self::ReceiveRpc {
        BothReceiver::new(Both)
    }

    async fn on_rpc_ready(&self, client: &BothSender) {
        let _ = client.add(1, 2).await;
    }

    async fn on_rpc_disconnect(&self, _: u64) {}
}

#[tokio::test]
async fn a_server_at_a_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s");
    let server = RpcServer::bind_unix(&path, Server).await.expect("it listens");
    let connecting = RpcClient::<BothSender>::connect_unix(&path, BothReceiver::new(Both));
    let client = connecting.await.expect("it is there");
    assert_eq!(client.sender.add(10, 5).await.expect("answered").result, 15);
    let sender = client.clone_sender();
    let joined = sender.join("a".to_owned(), "b".to_owned()).await;
    assert_eq!(joined.expect("answered"), "ab");
    assert_eq!(BothSender::protocols(), [&math::PROTOCOL, &text::PROTOCOL]);
    client.close().await;
    server.shutdown().await;
}

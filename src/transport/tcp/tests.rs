//! What only TCP has: addresses, users found by address, and socket options.

use super::*;
use crate::transport::{Listener, connect, connect_with};

#[tokio::test]
async fn the_port_is_told_and_the_host_may_be_a_name() {
    let listener = Listener::bind(&"tcp:localhost:0".parse().unwrap()).unwrap();
    let Endpoint::Tcp(address) = listener.endpoint() else {
        panic!("not TCP")
    };
    let address: SocketAddr = address.parse().unwrap();
    assert_ne!(address.port(), 0);
    let again = Listener::bind(listener.endpoint()).unwrap_err();
    assert!(matches!(again, BindError::InUse { .. }), "{again}");
}

#[cfg(any(target_os = "linux", windows))]
#[tokio::test]
async fn both_ends_know_the_others_user() {
    let mut listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
    let Endpoint::Tcp(address) = listener.endpoint().clone() else {
        panic!("not TCP")
    };
    let (client, accepted) = tokio::join!(super::connect(&address, false), listener.accept());
    let ours = crate::transport::current_uid();
    let (client, accepted) = (client.unwrap(), accepted.unwrap());
    assert_eq!(client.1.unwrap().uid, ours);
    if cfg!(windows) {
        // Wine may tell it only now that the client has used its socket.
        let named = accepted.socket.register().unwrap().named_now();
        assert_eq!(named.credentials.uid, ours);
        assert!(
            named.user.is_some_and(|user| user.has_number),
            "it is this process's user"
        );
    } else {
        assert_eq!(accepted.credentials.uid, ours);
    }
}

#[tokio::test]
async fn plain_tcp_is_for_this_machine_and_the_refusal_says_what_else_is_there() {
    for text in ["tcp:0.0.0.0:0", "tcp:[::]:0"] {
        let endpoint = text.parse().unwrap();
        let error = Listener::bind(&endpoint).unwrap_err();
        assert!(matches!(error, BindError::NotLoopback { .. }), "{error}");
        assert!(error.to_string().contains("tls:host:port"), "{error}");
    }
    let error = connect(&"tcp:192.0.2.1:9".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}");
    assert!(error.to_string().contains("use tls:192.0.2.1:9"), "{error}");
}

#[tokio::test]
async fn delays_and_silence_are_dealt_with() {
    let mut listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = listener.endpoint().clone();
    let options = crate::transport::ConnectOptions::default();
    let (client, accepted) = tokio::join!(connect_with(&endpoint, &options), listener.accept());
    for stream in [client.unwrap(), accepted.unwrap().socket.register().unwrap()] {
        let crate::transport::Stream::Tcp(tcp) = stream else {
            panic!("not TCP")
        };
        assert!(tcp.stream.nodelay().unwrap());
        assert!(SockRef::from(&tcp.stream).keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            use rustix::net::sockopt::{set_tcp_quickack, tcp_quickack};
            set_tcp_quickack(&tcp.stream, false).unwrap();
            tcp.acknowledge();
            assert!(tcp_quickack(&tcp.stream).unwrap());
        }
    }
}

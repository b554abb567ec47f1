//! Each form of a command: what its method takes, and what comes back.

use crate::ways::{WAYS, serve};
use actix_ipc::ErrorCode;
use actix_ipc::protocol::{Answer, Dispatch, Error, ProtocolMetadata, Result, Shape, protocol};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::sync::Notify;

protocol! {
    /// Every form.
    ///
    /// In one protocol.
    #[version(2)]
    #[crate_name("shop")]
    pub mod forms {
        /// Says the same again.
        #[derive(Debug, PartialEq)]
        echo {
            /// What is said.
            message: String,
        } -> #[derive(Debug, PartialEq)] {
            /// What was said.
            response: String,
        };
        notify { event: String };
        get_status -> #[derive(Debug, PartialEq)] { status: String, counts: BTreeMap<String, Vec<u8>> };
        plain { a: i32, b: i32 } return i64;
        tick;
        pair(i32, String) return (String, i32);
        single(u64) -> #[derive(Debug, PartialEq)] { twice: u64 };
        view<'a> { name: &'a str, #[serde(default)] bytes: &'a [u8], title: Option<Cow<'a, str>> } -> { found: usize };
        views<'a, 'b>(&'a str, &'b str) return bool;
        peek<'a> { name: &'a str };
        done {} -> {};
        fails return ();
        r#type { r#fn: u8, request: u8, handler: u8, answer: u8, items: u8 } return u8;
        #[cfg(any())]
        never { lost: u8 };
        #[deprecated]
        old return u8
    }
}

#[derive(Default)]
struct Forms {
    events: Mutex<Vec<String>>,
    heard: Notify,
}

impl Forms {
    fn hear(&self, event: &str) {
        self.events
            .lock()
            .expect("no handler panics")
            .push(event.to_owned());
        self.heard.notify_one();
    }

    fn heard(&self) -> Vec<String> {
        self.events.lock().expect("no handler panics").clone()
    }
}

impl forms::Receive for Forms {
    async fn echo(&self, message: String) -> Result<forms::echo::Response> {
        Ok(forms::echo::Response { response: message })
    }

    async fn notify(&self, event: String) -> Result<()> {
        self.hear(&event);
        Ok(())
    }

    async fn get_status(&self) -> Result<forms::get_status::Response> {
        let counts = BTreeMap::from([("a".to_owned(), vec![1, 2])]);
        let status = "healthy".to_owned();
        Ok(forms::get_status::Response { status, counts })
    }

    async fn plain(&self, a: i32, b: i32) -> Result<i64> {
        Ok(i64::from(a) + i64::from(b))
    }

    async fn tick(&self) -> Result<()> {
        self.hear("tick");
        Ok(())
    }

    async fn pair(&self, number: i32, text: String) -> Result<(String, i32)> {
        Ok((text, number))
    }

    async fn single(&self, number: u64) -> Result<forms::single::Response> {
        Ok(forms::single::Response { twice: number * 2 })
    }

    async fn view(
        &self,
        name: &str,
        bytes: &[u8],
        title: Option<Cow<'_, str>>,
    ) -> Result<forms::view::Response> {
        tokio::task::yield_now().await;
        let found = name.len() + bytes.len() + title.map_or(0, |title| title.len());
        Ok(forms::view::Response { found })
    }

    async fn views(&self, left: &str, right: &str) -> Result<bool> {
        Ok(left == right)
    }

    async fn peek(&self, name: &str) -> Result<()> {
        self.hear(name);
        Ok(())
    }

    async fn done(&self) -> Result<forms::done::Response> {
        Ok(forms::done::Response)
    }

    async fn fails(&self) -> Result<()> {
        Err(Error::new("the shop is closed").named("closed"))
    }

    async fn r#type(&self, r#fn: u8, request: u8, handler: u8, answer: u8, items: u8) -> Result<u8> {
        Ok(r#fn + request + handler + answer + items)
    }

    async fn old(&self) -> Result<u8> {
        Ok(1)
    }
}

#[tokio::test]
async fn each_form_of_a_command_is_answered() {
    for way in WAYS {
        let (_served, forms): (_, forms::Sender) = serve(way, forms::Receiver::new(Forms::default())).await;
        let said = forms.echo("hi".to_owned()).await.expect("answered");
        assert_eq!(
            said,
            forms::echo::Response {
                response: "hi".to_owned()
            }
        );
        let status = forms.get_status().await.expect("answered");
        assert_eq!(status.counts, BTreeMap::from([("a".to_owned(), vec![1, 2])]));
        assert_eq!(forms.plain(i32::MAX, 1).await.expect("answered"), 2_147_483_648);
        assert_eq!(
            forms.pair(7, "seven".to_owned()).await.expect("answered"),
            ("seven".to_owned(), 7)
        );
        assert_eq!(
            forms.single(4).await.expect("answered"),
            forms::single::Response { twice: 8 }
        );
        let found = {
            // The borrowed are gone when the future is awaited.
            let (name, title) = (String::from("name"), String::from("title"));
            forms.view(&name, b"bytes", Some(Cow::Borrowed(&title)))
        };
        assert_eq!(found.await.expect("answered").found, 14);
        assert!(forms.views("a", "a").await.expect("answered"));
        forms.done().await.expect("answered");
        assert_eq!(forms.r#type(1, 2, 3, 4, 5).await.expect("answered"), 15);
        #[allow(deprecated)]
        let old = forms.old();
        assert_eq!(old.await.expect("answered"), 1);
    }
}

#[tokio::test]
async fn one_way_commands_arrive_in_order() {
    for way in WAYS {
        let receiver = forms::Receive::into_receiver(Forms::default());
        let (_served, forms): (_, forms::Sender) = serve(way, receiver.clone()).await;
        forms.notify("first".to_owned()).await.expect("sent");
        forms.tick().await.expect("sent");
        let last = {
            let name = String::from("last");
            forms.peek(&name)
        };
        tokio::spawn(last).await.expect("no panic").expect("sent");
        while receiver.handler().heard().len() < 3 {
            receiver.handler().heard.notified().await;
        }
        assert_eq!(receiver.handler().heard(), ["first", "tick", "last"]);
    }
}

#[tokio::test]
async fn an_error_of_a_handler_reaches_its_caller_with_its_name() {
    for way in WAYS {
        let (_served, forms): (_, forms::Sender) = serve(way, forms::Receiver::new(Forms::default())).await;
        let error = forms.fails().await.expect_err("it fails");
        assert_eq!(
            (error.code, error.name.as_deref()),
            (ErrorCode::Handler, Some("closed"))
        );
        assert!(error.to_string().contains("the shop is closed"), "{error}");
    }
}

#[test]
fn a_protocol_is_described_as_it_is_written() {
    assert_eq!(forms::PROTOCOL_ID & 0xffff, 2);
    assert_eq!(
        (
            forms::PROTOCOL_NAME,
            forms::PROTOCOL_CRATE,
            forms::PROTOCOL_VERSION
        ),
        ("forms", "shop", 2)
    );
    let info = forms::ProtocolMarker::PROTOCOL;
    assert_eq!(info, &forms::PROTOCOL);
    assert_eq!(info.id, forms::PROTOCOL_ID);
    assert_eq!(info.doc, "Every form.\n\nIn one protocol.");
    let names: Vec<&str> = info.commands.iter().map(|command| command.name).collect();
    let written = [
        "echo",
        "notify",
        "get_status",
        "plain",
        "tick",
        "pair",
        "single",
        "view",
        "views",
        "peek",
        "done",
        "fails",
        "type",
        "old",
    ];
    assert_eq!(names, written);
    let find = |name: &str| {
        info.commands
            .iter()
            .find(|command| command.name == name)
            .expect("it is there")
    };
    let echo = find("echo");
    assert_eq!(echo.doc, "Says the same again.");
    let (Shape::Fields([message]), Answer::One(Shape::Fields([response]))) = (&echo.request, &echo.answer)
    else {
        panic!("{echo:?}");
    };
    assert_eq!(
        (message.name, message.type_name, message.doc),
        ("message", "String", "What is said.")
    );
    assert_eq!(
        (response.name, response.type_name, response.doc),
        ("response", "String", "What was said.")
    );
    assert_eq!(find("get_status").request, Shape::Empty);
    assert_eq!(find("plain").answer, Answer::One(Shape::Plain("i64")));
    assert_eq!(find("tick").answer, Answer::Nothing);
    let Shape::Tuple([number, text]) = &find("pair").request else {
        panic!("{:?}", find("pair"));
    };
    assert_eq!(
        (number.name, number.type_name, text.name, text.type_name),
        ("0", "i32", "1", "String")
    );
    assert_eq!(
        find("view").request.to_string(),
        "{name: &'a str, bytes: &'a [u8], title: Option<Cow<'a, str>>}"
    );
    assert_eq!(forms::Receiver::new(Forms::default()).protocols(), [info]);
}

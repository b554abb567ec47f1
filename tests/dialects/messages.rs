//! Each message of both formats, as their documents and programs say it, over each transport.

use super::Scene;
use super::old::{Format, Old};
use crate::until::until;
use actix_ipc::Endpoint;
use actix_ipc::message::Kind;
use serde_json::{Value, json};

#[test]
fn every_message_of_ipc_broker() {
    let scene = Scene::start();
    for endpoint in scene.endpoints() {
        let [mut worker, mut caller, mut hearer] =
            std::array::from_fn(|_| Old::connect(Format::Lengths, &endpoint));
        let has = |exists| json!({"HasObjectResult": {"object_name": "math", "exists": exists}});
        let asks = json!({"HasObject": {"object_name": "math"}});
        caller.ask(&asks, &has(false));
        worker.ask(
            &json!({"RegisterObject": {"object_name": "math"}}),
            &json!({"Registered": {"object_name": "math"}}),
        );
        caller.ask(&asks, &has(true));
        let add = json!({"Call": {"call_id": "c1", "object_name": "math", "method": "add", "args": {"a": 10, "b": 32}}});
        caller.say(&add);
        // The number is the broker's, so that nobody can answer for another.
        let mut call = worker.hear();
        let id = call["Call"]["call_id"].take();
        assert_eq!(
            call,
            json!({"Call": {"call_id": null, "object_name": "math", "method": "add", "args": {"a": 10, "b": 32}}})
        );
        worker.say(&json!({"Result": {"call_id": id, "object_name": "math", "value": {"sum": 42}}}));
        assert_eq!(
            caller.hear(),
            json!({"Result": {"call_id": "c1", "object_name": "math", "value": {"sum": 42}}})
        );
        caller.ask(
            &json!({"Call": {"call_id": "c2", "object_name": "nope", "method": "m", "args": null}}),
            &json!({"Error": {"call_id": "c2", "object_name": "nope", "message": "No such object 'nope'"}}),
        );
        let topic = json!({"object_name": "sensor", "topic": "temperature"});
        hearer.ask(&json!({"Subscribe": topic}), &json!({"Subscribed": topic}));
        let event = json!({"object_name": "sensor", "topic": "temperature", "args": "25.6°C"});
        caller.say(&json!({"Publish": event}));
        assert_eq!(hearer.hear(), json!({"Event": event}));
        // Its own subscription is one like others.
        caller.ask(&json!({"Subscribe": topic}), &json!({"Subscribed": topic}));
        caller.say(&json!({"Publish": event}));
        assert_eq!(caller.hear(), json!({"Event": event}));
        assert_eq!(hearer.hear(), json!({"Event": event}));
        // There is no answer to this one, and none is taken for another's.
        caller.say(&json!({"RegisterService": {"object_name": "x", "service_name": "x.service"}}));
        let mut names = caller.remote_call("rob", "listObjects", &json!(null)).unwrap();
        names.as_array_mut().unwrap().sort_by_key(ToString::to_string);
        assert_eq!(names, json!(["math", "rob"]));
        drop(worker);
        until("the worker has gone", || {
            caller.remote_call("rob", "listObjects", &json!(null)) == Ok(json!(["rob"]))
        });
    }
    scene.stop();
}

/// The sequence diagrams of the document, message by message.
#[test]
fn every_message_of_ipc_server() {
    let scene = Scene::start();
    for endpoint in scene.endpoints() {
        let [mut sharer, mut requestor, mut listener, mut sender] =
            std::array::from_fn(|_| Old::connect(Format::Documents, &endpoint));
        let ok = json!({"success": "OK"});
        sharer.ask(&json!({"reg_object": "object name"}), &ok);
        let list = json!({"list": ["object name"]});
        requestor.ask(&list, &list);
        let call =
            json!({"object": "object name", "method": "method_name", "param": {"p": [1, 2.5, null, true]}});
        requestor.say(&call);
        assert_eq!(sharer.hear(), call);
        let response = json!({"response": "This is my response"});
        sharer.say(&response);
        assert_eq!(requestor.hear(), response);
        let bare = json!({"object": "object name", "method": "method_name"});
        requestor.say(&bare);
        assert_eq!(sharer.hear(), bare);
        sharer.say(&json!({"error": {"code": 1}}));
        assert_eq!(requestor.hear(), json!({"error": {"code": 1}}));
        requestor.ask(
            &json!({"object": "kiwi", "method": "x"}),
            &json!({"error": "Object not found"}),
        );
        requestor.ask(
            &json!({"bogus": 1}),
            &json!({"error": "data did not match any variant of untagged enum IpcMessage"}),
        );
        listener.say(&json!({"event_name": "event"}));
        listener.settle();
        let event = json!({"event": "event", "result": {"n": 1}});
        sender.ask(&event, &ok);
        assert_eq!(listener.hear(), event);
        // Neither of these has an answer.
        requestor.send(b"null");
        requestor.say(&ok);
        requestor.ask(&list, &list);
    }
    scene.stop();
}

#[test]
fn a_list_is_answered_when_all_of_it_is_there() {
    let scene = Scene::start();
    let [mut waiter, mut first, mut second] = std::array::from_fn(|_| scene.old(Format::Documents));
    assert!(first.register("mango"));
    // What is not there in time is an empty list, and the old client asks again.
    waiter.ask(&json!({"list": ["mango", "apple"]}), &json!({"list": []}));
    waiter.say(&json!({"list": ["mango", "apple"]}));
    assert!(second.register("apple"));
    let mut heard = waiter.hear();
    if heard == json!({"list": []}) {
        waiter.say(&json!({"list": ["mango", "apple"]}));
        heard = waiter.hear();
    }
    assert_eq!(heard, json!({"list": ["mango", "apple"]}));
    scene.stop();
}

/// Its programs read over TCP alone, in reads that they take for a part of a document when they are full.
#[test]
fn a_document_never_ends_with_a_full_read() {
    let scene = Scene::start();
    let endpoints = scene.endpoints();
    let tcp = endpoints
        .iter()
        .find(|endpoint| matches!(endpoint, Endpoint::Tcp(_)))
        .unwrap();
    let mut owner = Old::connect(Format::Documents, tcp);
    assert!(owner.register("o"));
    let mut caller = Old::connect(Format::Documents, tcp);
    let of = |total: usize, empty: &Value| {
        let around = empty.to_string().len();
        json!("x".repeat(total - around))
    };
    for reads in [1, 2, 14] {
        for total in [reads * 4_096 - 1, reads * 4_096, reads * 4_096 + 1] {
            let param = of(total, &json!({"object": "o", "method": "m", "param": ""}));
            caller.call("o", "m", &param);
            assert_eq!(owner.hear_in_full_reads()["param"], param, "{total}");
            let response = of(total, &json!({"response": ""}));
            owner.say(&json!({"response": response}));
            assert_eq!(
                caller.hear_in_full_reads(),
                json!({"response": response}),
                "{total}"
            );
        }
    }
    scene.stop();
}

#[test]
fn a_message_arrives_in_any_parts() {
    let scene = Scene::start();
    let mut native = scene.native();
    native.register("o");
    for endpoint in scene.endpoints() {
        for format in [Format::Lengths, Format::Documents] {
            let mut old = Old::connect(format, &endpoint);
            let text = "é\\\"}{".repeat(40);
            let call = match format {
                Format::Lengths => {
                    json!({"Call": {"call_id": "c", "object_name": "o", "method": "m", "args": text}})
                }
                Format::Documents => json!({"object": "o", "method": "m", "param": text}),
            };
            let call = old.encoded(&call);
            for size in [1, 3, 100] {
                for part in call.chunks(size) {
                    old.send(part);
                    // The broker has had its turn: the next part is a read of its own.
                    native.ping();
                }
                let call = native.expect(Kind::Call);
                assert_eq!(
                    serde_json::from_slice::<Value>(&call.payload).unwrap(),
                    json!(text)
                );
                native.reply(&call, b"taken");
                assert_eq!(old.answer(), Ok(json!("taken")));
            }
        }
    }
    scene.stop();
}

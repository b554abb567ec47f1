//! Commands that cannot be, each in a protocol of its own: the error stands where the mistake is.

use actix_ipc_macros::protocol;

protocol! {
    pub mod no_semicolon {
        echo { message: String } -> { response: String }
        notify { event: String };
    }
}

protocol! {
    pub mod twice {
        echo { message: String };
        tick;
        echo { other: String };
    }
}

protocol! {
    pub mod keyword {
        type { name: String };
    }
}

protocol! {
    pub mod keyword_of_a_field {
        find { type: String };
    }
}

protocol! {
    pub mod reserved {
        new { name: String };
        Sender { name: String };
        into_receiver;
    }
}

protocol! {
    pub mod shadowed {
        put { place: Receiver, request: Vec<Request> } -> {};
    }
}

protocol! {
    pub mod nameless_lifetime {
        view { name: &str } -> { found: bool };
    }
}

protocol! {
    pub mod undeclared_lifetime {
        view { name: &'a str } -> { found: bool };
    }
}

protocol! {
    pub mod unused_lifetime {
        view<'a> { name: String } -> { found: bool };
    }
}

protocol! {
    pub mod lasting {
        view<'a> { name: &'a str, other: &'static str } -> { found: bool };
    }
}

protocol! {
    pub mod borrowed_answer {
        view<'a> { name: &'a str } -> { found: &'a str };
    }
}

protocol! {
    pub mod plain_behind_an_arrow {
        add { a: i32, b: i32 } -> i64;
    }
}

protocol! {
    pub mod function {
        async fn add(a: i32, b: i32) -> i64;
    }
}

protocol! {
    pub mod named_in_parentheses {
        add(a: i32, b: i32) return i64;
    }
}

protocol! {
    pub mod generic {
        add<T> { a: T } return i64;
    }
}

protocol! {
    pub mod stream_without_answer {
        upload stream { part: Vec<u8> };
    }
}

protocol! {
    pub mod derived_twice {
        #[derive(Debug, Serialize)]
        echo { message: String };
    }
}

fn main() {}

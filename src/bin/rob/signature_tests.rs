//! The signature table of the documentation, line by line, and everything that is refused.

use super::*;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn every_line_of_the_table() {
    // signature, arguments, value
    let table = [
        ("s", "hello", r#""hello""#),
        ("i", "42", "42"),
        ("n", "", "null"),
        ("", "", "null"),
        ("{is}", "key 123 value text", r#"{"key":123,"value":"text"}"#),
        ("(sss)", "one two three", r#"["one","two","three"]"#),
        ("{i}", "id 123", r#"{"id":123}"#),
        ("(ii)", "1 2", "[1,2]"),
        ("[ii]", "1 2", "[1,2]"),
        ("{ii}", "a 10 b 32", r#"{"a":10,"b":32}"#),
        ("s", "25.6°C", r#""25.6°C""#),
        ("b", "true", "true"),
        ("b", "false", "false"),
        ("d", "2.5", "2.5"),
        ("d", "-1e3", "-1000.0"),
        ("d", "3", "3.0"),
        ("j", r#"{"z":1,"a":[true,null]}"#, r#"{"z":1,"a":[true,null]}"#),
        // Nested: every element of a map takes a key and then its value, also when the value is a list.
        (
            "{s(i)}",
            "name hello sizes 42",
            r#"{"name":"hello","sizes":[42]}"#,
        ),
        (
            "{s[ii]b}",
            "name x at 1 2 on true",
            r#"{"name":"x","at":[1,2],"on":true}"#,
        ),
        ("({s}{s})", "a x b y", r#"[{"a":"x"},{"b":"y"}]"#),
        (
            "{{i}n}",
            "outer inner 1 nothing",
            r#"{"outer":{"inner":1},"nothing":null}"#,
        ),
        ("(s(i(n)))", "x 1", r#"["x",[1,[null]]]"#),
        ("{}", "", "{}"),
        ("()", "", "[]"),
        ("[]", "", "[]"),
        // Words that look like options are values.
        ("i", "-5", "-5"),
        ("s", "--json", r#""--json""#),
        ("(ii)", "-1 -2", "[-1,-2]"),
        // The ends of 64 bits, signed and unsigned.
        ("i", "-9223372036854775808", "-9223372036854775808"),
        ("i", "18446744073709551615", "18446744073709551615"),
        // Raw JSON is not re-read: what doubles cannot hold stays as it was typed.
        (
            "j",
            "123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
    ];
    for (signature, arguments, expected) in table {
        let arguments = words(arguments);
        let encoded = encode(signature, &arguments).unwrap_or_else(|error| panic!("{signature}: {error}"));
        assert_eq!(encoded.json, expected, "{signature}");
        assert_eq!(encoded.used, arguments.len(), "{signature}");
        serde_json::from_str::<serde_json::Value>(&encoded.json).unwrap();
    }
}

#[test]
fn strings_are_escaped_and_may_be_empty() {
    let encoded = encode("(ss)", &["".into(), "a\"b\\\n\u{1b}".into()]).unwrap();
    assert_eq!(encoded.json, r#"["","a\"b\\\n\u001b"]"#);
}

#[test]
fn leftover_arguments_are_counted_not_taken() {
    assert_eq!(encode("i", &words("1 2 3")).unwrap().used, 1);
    assert_eq!(encode("n", &words("1")).unwrap().used, 0);
}

/// Signature, arguments, and what is said about them.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "x",
        "",
        r#"signature "x": unexpected 'x' at position 1; it is made of s i n b d j {…} (…) […]"#,
    ),
    (
        "(i x)",
        "1",
        r#"signature "(i x)": unexpected ' ' at position 3; it is made of s i n b d j {…} (…) […]"#,
    ),
    (
        "(ii",
        "1 2",
        r#"signature "(ii": '(' at position 1 is never closed; add ')'"#,
    ),
    (
        "{s(i}",
        "a x b 1",
        r#"signature "{s(i}": unexpected '}' at position 5; it is made of s i n b d j {…} (…) […]"#,
    ),
    (
        "i)",
        "1",
        r#"signature "i)": unexpected ')' at position 2; it is made of s i n b d j {…} (…) […]"#,
    ),
    (
        "si",
        "a 1",
        r#"signature "si": 'i' at position 2 goes on after the end of the value; a list of values is written (si)"#,
    ),
    (
        "ss\0",
        "a",
        r#"signature "ss\0": 's' at position 2 goes on after the end of the value; a list of values is written (ss\0)"#,
    ),
    (
        "s",
        "",
        r#"missing argument 1: a string for position 1 of the signature "s""#,
    ),
    (
        "{ii}",
        "a 10 b",
        r#"missing argument 4: an integer for position 3 of the signature "{ii}""#,
    ),
    (
        "{ii}",
        "a 10",
        r#"missing argument 3: a key for position 3 of the signature "{ii}""#,
    ),
    (
        "{s(i)}",
        "profile hello 42",
        r#"missing argument 4: an integer for position 4 of the signature "{s(i)}""#,
    ),
    ("i", "ten", r#"argument 1, "ten", is not an integer"#),
    ("(si)", "a 1.5", r#"argument 2, "1.5", is not an integer"#),
    (
        "i",
        "18446744073709551616",
        r#"argument 1, "18446744073709551616", is not an integer of 64 bits"#,
    ),
    (
        "b",
        "yes",
        r#"argument 1, "yes", is not a boolean (true or false)"#,
    ),
    ("d", "warm", r#"argument 1, "warm", is not a number"#),
    (
        "d",
        "NaN",
        r#"argument 1, "NaN", is not a number that JSON can hold"#,
    ),
    (
        "{ii}",
        "a 1 a 2",
        r#"argument 3: the map has the key "a" already"#,
    ),
];

#[test]
fn what_is_wrong_is_named() {
    for (signature, arguments, expected) in WRONG {
        let error = encode(signature, &words(arguments)).unwrap_err();
        assert_eq!(error.to_string(), *expected, "{signature} {arguments}");
    }
    let error = encode("j", &["{".into()]).unwrap_err().to_string();
    assert!(
        error.starts_with(r#"argument 1, "{", is not JSON: EOF while parsing"#),
        "{error}"
    );
}

#[test]
fn depth_is_limited() {
    let deep = |depth: usize| format!("{}{}", "(".repeat(depth), ")".repeat(depth));
    assert!(encode(&deep(DEPTH_MAX + 1), &[]).is_ok());
    assert!(matches!(
        encode(&deep(DEPTH_MAX + 2), &[]),
        Err(SignatureError::TooDeep { .. })
    ));
    assert!(matches!(
        encode(&"(".repeat(1_000_000), &[]),
        Err(SignatureError::TooDeep { .. })
    ));
}

proptest::proptest! {
    #[test]
    fn never_panics_and_always_gives_json(signature in "[sinbdj{}()\\[\\]x]{0,12}", arguments in proptest::collection::vec("[a-z0-9{}\\-]{0,4}", 0..8)) {
        if let Ok(encoded) = encode(&signature, &arguments) {
            assert!(encoded.used <= arguments.len());
            serde_json::from_str::<serde_json::Value>(&encoded.json).unwrap();
        }
    }
}

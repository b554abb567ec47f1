//! Welcomes that are cut, late, changed or none: a connection, or an error in words.

use super::*;

#[actix::test]
async fn a_broker_that_ends_at_any_byte_of_its_welcome_is_an_error_in_words() {
    let whole = welcome_frame(&welcome());
    for cut in 0..=whole.len() {
        let part = whole[..cut].to_vec();
        let fake = Fake::new(move |mut stream, _| {
            hear_greeting(&mut stream);
            stream.write_all(&part).unwrap();
        });
        let at = Instant::now();
        let connected = fake.connect().await;
        assert_eq!(connected.is_ok(), cut == whole.len(), "cut at {cut}");
        if let Err(error) = connected {
            assert!(
                error.to_string().contains("closed the connection"),
                "{cut}: {error}"
            );
        }
        assert!(at.elapsed() < PATIENCE, "{cut}");
    }
    no_panic();
}

#[actix::test]
async fn a_broker_that_falls_silent_at_any_byte_of_its_welcome_is_given_up() {
    let whole = welcome_frame(&welcome());
    let attempts = (0..whole.len()).map(|cut| {
        let part = whole[..cut].to_vec();
        async move {
            let fake = Fake::new(move |mut stream, _| {
                hear_greeting(&mut stream);
                stream.write_all(&part).unwrap();
                swallow(stream);
            });
            let at = Instant::now();
            let error = fake.connect().await.expect_err("there is no welcome");
            assert!(error.to_string().contains("no welcome within"), "{cut}: {error}");
            at.elapsed()
        }
    });
    let longest = join_all(attempts).await.into_iter().max().unwrap();
    assert!(
        longest < Duration::from_secs(10),
        "{longest:?} for a promise of 1 s"
    );
    no_panic();
}

#[actix::test]
async fn a_welcome_with_any_byte_changed_is_taken_or_refused() {
    let whole = welcome_frame(&welcome());
    let mut refused = 0;
    for at in 0..whole.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            let fake = Fake::new(move |mut stream, _| {
                hear_greeting(&mut stream);
                say_and_swallow(stream, &changed);
            });
            match fake.connect().await {
                Ok(client) => drop(within(client.closed()).await),
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
    assert!(refused > 50, "{refused}");
    no_panic();
}

#[actix::test]
async fn answers_that_are_no_welcome_are_refused_in_words() {
    let goodbye = Draft::new(Kind::Goodbye, 0)
        .aux(3)
        .payload(Encoding::RAW, b"\x1b[2Jno");
    let hello = Draft::new(Kind::Hello, 1).aux(1).to_vec();
    let mut long = welcome_frame(&welcome());
    long[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let cases: &[(&str, Vec<u8>)] = &[
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("its own greeting", PREFACE.to_vec()),
        ("zeroes", vec![0; 4096]),
        ("ones", vec![0xff; 4096]),
        ("a goodbye", goodbye.to_vec()),
        ("a hello", hello),
        ("another version", Draft::new(Kind::Welcome, 5).aux(77).to_vec()),
        (
            "an empty welcome",
            Draft::new(Kind::Welcome, 5).aux(PROTOCOL_VERSION).to_vec(),
        ),
        ("a length of 4 GiB", long),
    ];
    for (case, bytes) in cases {
        let bytes = bytes.clone();
        let fake = Fake::new(move |mut stream, _| {
            hear_greeting(&mut stream);
            say_and_swallow(stream, &bytes);
        });
        let error = fake.connect().await.expect_err(case).to_string();
        assert!(error.len() > 20, "{case}: {error}");
    }
    no_panic();
}

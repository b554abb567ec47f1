//! Names, keys and metadata blocks, against section 4 and 5 of `docs/protocol.md` read literally.

use crate::input::Input;
use actix_ipc::message::key::{self, Key};
use actix_ipc::message::{Metadata, ObjectName, metadata, name};

/// "UTF-8, 1 to 255 bytes, without control characters (U+0000 to U+001F, U+007F to U+009F)".
#[must_use]
pub fn is_name(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let control = |letter: char| matches!(u32::from(letter), 0..=0x1f | 0x7f..=0x9f);
    ((1..=255).contains(&bytes.len()) && !text.chars().any(control)).then_some(text)
}

/// The entries of a metadata block, or none when it breaks a rule.
#[must_use]
pub fn entries(block: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    if block.len() > 8192 {
        return None;
    }
    let mut at = 0;
    while at < block.len() {
        let key = block.get(at + 1..at + 1 + usize::from(block[at]))?;
        at += 1 + key.len();
        let length = block.get(at..at + 2)?;
        at += 2;
        let value = block.get(at..at + (usize::from(length[1]) << 8 | usize::from(length[0])))?;
        at += value.len();
        let key = String::from_utf8(key.to_vec()).ok()?;
        if key.is_empty() {
            return None;
        }
        found.push((key, value.to_vec()));
    }
    Some(found)
}

/// Input: the bytes of a name, of a key.
pub fn names(bytes: &[u8]) {
    assert_eq!(name::check(bytes).ok(), is_name(bytes));
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(ObjectName::new(text).is_ok(), is_name(bytes).is_some());
    }
    let single = Key::single(bytes);
    assert_eq!(single.is_ok(), is_name(bytes).is_some());
    let cut = bytes.iter().position(|byte| *byte == 0);
    let halves = cut.map(|cut| (&bytes[..cut], &bytes[cut + 1..]));
    assert_eq!(key::split(bytes), halves.unwrap_or((bytes, &[])));
    let pair = halves.and_then(|(object, member)| Some((is_name(object)?, is_name(member)?)));
    match (Key::pair(bytes), pair) {
        (Ok(key), Some((object, member))) => {
            assert_eq!((key.object, key.member), (object, member));
            assert_eq!(key::join(object, member), bytes);
        }
        (Err(error), None) => assert!(error.to_string().chars().all(|letter| !letter.is_control())),
        (got, wanted) => panic!("{got:?} instead of {wanted:?}"),
    }
}

/// Input: a block; then what to add to it, as key and value lengths with their bytes.
pub fn metadata(data: &[u8]) {
    let mut input = Input::new(data);
    let length = input.below(9000);
    let block = input.bytes(length);
    let model = entries(block);
    assert_eq!(metadata::check(block).is_ok(), model.is_some());
    let reserved = |(key, _): &(String, Vec<u8>)| key.starts_with("sys.");
    let fit = model
        .as_ref()
        .is_some_and(|entries| !entries.iter().any(reserved));
    assert_eq!(metadata::check_from_peer(block).is_ok(), fit);
    // Whatever the block is, looking into it is safe.
    for key in ["group", "route.key", "sys.name", "", "k"] {
        let _ = metadata::get(block, key);
    }
    let mut model = model.unwrap_or_default();
    let mut real = Metadata::parse(block).unwrap_or_default();
    agrees(&real, &model);
    while !input.is_empty() {
        let (key, value) = (input.below(300), input.below(700));
        let key = String::from_utf8_lossy(input.bytes(key)).into_owned();
        let value = input.bytes(value);
        let bytes: usize = model.iter().map(|(key, value)| key.len() + value.len() + 3).sum();
        let fits = (1..=255).contains(&key.len()) && bytes + key.len() + value.len() + 3 <= 8192;
        assert_eq!(real.insert(&key, value).is_ok(), fits);
        if fits {
            model.push((key, value.to_vec()));
        }
        agrees(&real, &model);
    }
    assert_eq!(Metadata::parse(real.as_bytes()).as_ref(), Ok(&real));
}

fn agrees(real: &Metadata, model: &[(String, Vec<u8>)]) {
    let listed: Vec<(String, Vec<u8>)> = real
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_vec()))
        .collect();
    assert_eq!(listed, model);
    assert_eq!(real.is_empty(), model.is_empty());
    for (key, _) in model {
        let first = model
            .iter()
            .find(|(other, _)| other == key)
            .map(|(_, value)| &value[..]);
        assert_eq!(real.get(key), first, "the first of two entries counts");
    }
}

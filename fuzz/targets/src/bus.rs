//! Selectors and payloads of the label bus, against section 17 of `docs/protocol.md` read literally.

use crate::names::is_name;
use actix_ipc::message::bus::{Join, Settlement};
use actix_ipc::message::selector::Selector;

/// Labels that an endpoint may have; the bits of a number say which.
const LABELS: [&str; 4] = ["a", "b", "earth", "moon"];

/// Input: one byte that says what follows, and its bytes.
pub(crate) fn bus(bytes: &[u8]) {
    let Some((what, rest)) = bytes.split_first() else {
        return;
    };
    match what % 3 {
        0 => selector(rest),
        1 => join(rest),
        _ => settled(rest),
    }
}

/// What the expression says of the endpoint whose labels these are: a stack, one step after the other.
fn value(expression: &[u8], labels: &[&str]) -> Option<bool> {
    let (mut stack, mut at, mut operations) = (Vec::new(), 0, 0);
    while at < expression.len() {
        operations += 1;
        let code = expression[at];
        at += 1;
        match code {
            1 => {
                let length = usize::from(*expression.get(at)?);
                let label = is_name(expression.get(at + 1..at + 1 + length)?)?;
                at += 1 + length;
                stack.push(labels.contains(&label));
            }
            2 | 3 => {
                let (right, left) = (stack.pop()?, stack.pop()?);
                stack.push(if code == 2 { left && right } else { left || right });
            }
            4 => {
                let last = stack.pop()?;
                stack.push(!last);
            }
            5 | 6 => stack.push(code == 5),
            _ => return None,
        }
        if stack.len() > 32 || operations > 64 {
            return None;
        }
    }
    (stack.len() == 1).then(|| stack[0])
}

fn selector(bytes: &[u8]) {
    let parsed = Selector::parse(bytes);
    let mode = bytes.first().filter(|mode| **mode < 3 && bytes.len() <= 511);
    for chosen in 0_u8..16 {
        let has = |at: usize| chosen >> at & 1 == 1;
        let labels: Vec<&str> = (0..4).filter(|at| has(*at)).map(|at| LABELS[at]).collect();
        let wanted = mode.and_then(|_| value(&bytes[1..], &labels));
        let got = parsed
            .as_ref()
            .ok()
            .map(|selector| selector.matches(|label| labels.contains(&label)));
        assert_eq!(got, wanted, "{labels:?}");
    }
    if let Ok(selector) = parsed {
        assert_eq!(
            (selector.mode() as u8, selector.expression()),
            (bytes[0], &bytes[1..])
        );
        assert_eq!(Selector::checked(bytes), Some(selector));
    }
}

/// The version, the token and the labels, or none when a rule is broken.
fn fields(bytes: &[u8]) -> Option<(u16, &[u8], Vec<&str>)> {
    let number = |at: usize| Some(usize::from(*bytes.get(at)?) | usize::from(*bytes.get(at + 1)?) << 8);
    let (version, length) = (number(0)?, number(2)?);
    let token = bytes.get(4..4 + length)?;
    let (count, mut at, mut labels) = (number(4 + length)?, 6 + length, Vec::new());
    for _ in 0..count {
        let length = number(at)?;
        labels.push(is_name(bytes.get(at + 2..at + 2 + length)?)?);
        at += 2 + length;
    }
    let right = token.len() <= 1_024 && count <= 64 && at == bytes.len();
    right.then(|| (u16::try_from(version).unwrap(), token, labels))
}

fn join(bytes: &[u8]) {
    let got = Join::decode(bytes);
    let Some((version, token, labels)) = fields(bytes) else {
        return assert!(got.is_err(), "{got:?}");
    };
    let wanted = Join {
        version,
        token,
        labels,
    };
    assert_eq!(got.as_ref(), Ok(&wanted));
    assert_eq!(wanted.encode().unwrap(), bytes);
}

fn settled(bytes: &[u8]) {
    let all: Vec<Option<Settlement>> = Settlement::all(bytes).collect();
    assert_eq!(all.len(), bytes.len() / 16);
    for (entry, bytes) in all.into_iter().zip(bytes.chunks(16)) {
        assert_eq!(entry.is_some(), bytes[12] < 9);
        if let Some(entry) = entry {
            let mut wanted = bytes.to_vec();
            wanted[13] = wanted[13].min(1);
            assert_eq!(entry.bytes()[..], wanted);
        }
    }
}

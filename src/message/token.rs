//! A secret that proves who a client is where the operating system cannot say.
//!
//! Owns the 256 bits, their two texts (hex in a file, bytes in Hello) and a comparison whose time tells nothing. It knows
//! no file, no name and no randomness. A token is never shown: its `Debug` says only that it is one.

use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a token.
pub const TOKEN_LEN: usize = 32;

/// U+FEFF in UTF-8: what says of a file that it is UTF-8, and is none of its text.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// 256 random bits. Overwritten when dropped.
#[derive(Clone)]
pub struct Token(Zeroizing<[u8; TOKEN_LEN]>);

/// The text of a file is not a token; it is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it does not hold a token: 64 hexadecimal digits and at most a line end; `ipc-broker token create` makes one"
)]
pub struct NoToken;

impl Token {
    /// A token of random bytes that the caller drew.
    #[must_use]
    pub fn new(random: [u8; TOKEN_LEN]) -> Self {
        Self(Zeroizing::new(random))
    }

    /// Reads the content of a token file: 64 hexadecimal digits, blanks around them, and the mark in front that some editors of Windows put there.
    ///
    /// # Errors
    /// [`NoToken`] for anything else.
    pub fn parse(text: &[u8]) -> Result<Self, NoToken> {
        let digits = text.strip_prefix(MARK).unwrap_or(text).trim_ascii();
        if digits.len() != TOKEN_LEN * 2 {
            return Err(NoToken);
        }
        let mut bytes = Zeroizing::new([0; TOKEN_LEN]);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                let value = char::from(*digit).to_digit(16).ok_or(NoToken)?;
                *byte = *byte << 4 | u8::try_from(value).map_err(|_| NoToken)?;
            }
        }
        Ok(Self(bytes))
    }

    /// The token in Hello.
    ///
    /// # Errors
    /// [`NoToken`] when the length is another one.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, NoToken> {
        bytes.try_into().map(Self::new).map_err(|_| NoToken)
    }

    /// The secret bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; TOKEN_LEN] {
        &self.0
    }

    /// What a file of this token holds.
    #[must_use]
    pub fn to_file(&self) -> Zeroizing<Vec<u8>> {
        let digit = |value: u8| b"0123456789abcdef".get(usize::from(value)).copied();
        let mut text = Zeroizing::new(Vec::with_capacity(TOKEN_LEN * 2 + 1));
        for byte in self.0.iter() {
            text.extend(digit(byte >> 4).into_iter().chain(digit(byte & 15)));
        }
        text.push(b'\n');
        text
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip_and_nothing_else_is_a_token() {
        let token = Token::new(std::array::from_fn(|at| u8::try_from(at * 7 % 256).unwrap()));
        let text = token.to_file();
        assert_eq!(text.len(), 65);
        assert_eq!(Token::parse(&text), Ok(token.clone()));
        assert_eq!(Token::parse(&text.to_ascii_uppercase()), Ok(token.clone()));
        assert_eq!(Token::parse(&[MARK, &text].concat()), Ok(token.clone()));
        assert_eq!(Token::parse(&[MARK, MARK, &text].concat()), Err(NoToken));
        assert_eq!(Token::from_wire(token.bytes()), Ok(token.clone()));
        let with_sign = [b"+".as_slice(), &text[1..64]].concat();
        for wrong in [
            b"".as_slice(),
            b"00",
            &text[..63],
            &[&text[..64], b"0"].concat(),
            &with_sign,
        ] {
            assert_eq!(Token::parse(wrong), Err(NoToken), "{wrong:?}");
        }
        assert_eq!(Token::from_wire(&[0; 31]), Err(NoToken));
        assert_ne!(Token::new([1; TOKEN_LEN]), token);
    }

    #[test]
    fn it_is_not_shown() {
        let token = Token::new([0xab; TOKEN_LEN]);
        for shown in [format!("{token:?}"), format!("{:?}", Some(&token))] {
            assert!(!shown.contains("ab") && !shown.contains("171"), "{shown}");
        }
    }
}

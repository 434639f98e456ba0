//! The secret by which the host knows its agent.

use std::fmt;

use serde::{Deserialize, Serialize};

/// 128 random bits, written as 32 hexadecimal digits.
///
/// It is in no environment, argument list or readable file of the guest's root, and its
/// `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token([u8; 16]);

impl Token {
    /// The token of these bits.
    pub const fn new(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    /// Compares without telling by its duration where the two differ.
    pub fn matches(&self, other: &Token) -> bool {
        self.0.iter().zip(other.0).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Token {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = || "a token is 32 hexadecimal digits".to_owned();
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut bits = [0; 16];
        for (i, byte) in bits.iter_mut().enumerate() {
            let digits = text.get(2 * i..2 * i + 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(Self(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_debug_hides() {
        let token = Token::new([0xa5; 16]);
        let text = String::from(token.clone());
        assert_eq!(text, "a5".repeat(16));
        assert!(Token::try_from(text).unwrap().matches(&token));
        assert!(!format!("{token:?}").contains("a5"));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "a5", &"g5".repeat(16), &"a5".repeat(17), &"é5".repeat(11)] {
            assert!(Token::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}

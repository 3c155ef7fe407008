//! Tokens that authenticate the pods of one run to each other. A listener has only the hash of the token that it
//! requires. Pure, except for [`Tokens::random`].

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use subtle::ConstantTimeEq;

/// The length of a token, in bytes; it is written as hexadecimal digits.
const BYTES: usize = 32;
const SCHEME: &str = "Bearer ";

/// The file, and key of the Secret, with the token that the aggregator requires. Runners have it.
pub const AGGREGATOR: &str = "aggregator";
/// The file, and key of the Secret, with the hash of that token. The aggregator has it.
pub const AGGREGATOR_HASH: &str = "aggregator.sha256";
/// The file, and key of the Secret, with the token that the runners require. The starter and the stopper have it.
pub const RUNNERS: &str = "runners";
/// The file, and key of the Secret, with the hash of that token. The runners have it.
pub const RUNNERS_HASH: &str = "runners.sha256";

/// What stands in place of the folder of a runner's tokens where they are in variables.
pub const ENVIRONMENT: &str = "env";
/// The variables of a runner with the contents of [`AGGREGATOR`] and of [`RUNNERS_HASH`]. No process of a script has them.
pub const VARIABLES: [&str; 2] = ["K6_OPERATOR_TOKEN", "K6_OPERATOR_ORDERS_HASH"];

/// The tokens of one run.
#[derive(Debug)]
pub struct Tokens {
    /// The token that the aggregator requires.
    pub aggregator: Token,
    /// The token that the runners require.
    pub runners: Token,
}

impl Tokens {
    /// Creates tokens from random numbers of the operating system.
    pub fn random() -> Result<Self, getrandom::Error> {
        Ok(Self {
            aggregator: Token::random()?,
            runners: Token::random()?,
        })
    }
}

/// A secret of 256 bits. Its `Debug` does not show it.
#[derive(Clone)]
pub struct Token(String);

/// Why a text is no [`Token`] or [`TokenHash`]. The error does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not {} hexadecimal digits", 2 * BYTES)]
pub struct TokenError;

impl Token {
    fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(hex(bytes)))
    }

    /// The text of the token, as the Secret has it.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The hash that admits this token.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The text of the header `authorization`.
    pub fn bearer(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }

    /// The value of the header `authorization`.
    pub fn authorization(&self) -> HeaderValue {
        // Hexadecimal digits make a valid header.
        let value = HeaderValue::from_str(&self.bearer());
        let mut value = value.unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        bytes(text).map(|_| Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// The SHA-256 of a token. A token of 256 random bits can't be found from it.
#[derive(Clone, Copy, Debug)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Whether these headers carry the token. The comparison takes the same time for every wrong token.
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let presented = value.and_then(|value| value.strip_prefix(SCHEME.as_bytes()));
        let presented: [u8; 32] = Sha256::digest(presented.unwrap_or_default()).into();
        presented.ct_eq(&self.0).into()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0))
    }
}

impl FromStr for TokenHash {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        bytes(text.trim()).map(Self)
    }
}

fn hex(bytes: [u8; BYTES]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(text: &str) -> Result<[u8; BYTES], TokenError> {
    let digits = text.as_bytes();
    if digits.len() != 2 * BYTES || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(TokenError);
    }
    let mut bytes = [0; BYTES];
    for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        let pair = text.get(at..at + 2).ok_or(TokenError)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| TokenError)?;
    }
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with(authorization: HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, authorization)])
    }

    #[test]
    fn hash_admits_its_token_and_no_other() {
        let Tokens { aggregator, runners } = Tokens::random().unwrap();
        let hash: TokenHash = aggregator.hash().to_string().parse().unwrap();
        assert!(hash.admits(&with(aggregator.authorization())));
        let again: Token = format!("{}\n", aggregator.text()).parse().unwrap();
        assert!(hash.admits(&with(again.authorization())));
        assert!(!hash.admits(&with(runners.authorization())));
        assert!(!hash.admits(&HeaderMap::new()));
        let bare = aggregator.text();
        for wrong in [
            String::new(),
            "Bearer ".to_owned(),
            bare.to_owned(),
            format!("bearer {bare}"),
            format!("Bearer {}", &bare[1..]),
            format!("Bearer {bare}0"),
            format!("Bearer {hash}"),
        ] {
            assert!(!hash.admits(&with(wrong.parse().unwrap())), "{wrong}");
        }
    }

    #[test]
    fn tokens_of_two_runs_differ() {
        let [first, second] = [Tokens::random().unwrap(), Tokens::random().unwrap()];
        assert_ne!(first.aggregator.text(), second.aggregator.text());
        assert_ne!(first.runners.text(), second.runners.text());
        assert_ne!(first.aggregator.text(), first.runners.text());
    }

    #[test]
    fn no_debug_output_and_no_error_shows_a_token() {
        let tokens = Tokens::random().unwrap();
        let shown = format!("{tokens:?} {:?}", tokens.aggregator.authorization());
        assert!(!shown.contains(tokens.aggregator.text()), "{shown}");
        assert!(!shown.contains(tokens.runners.text()), "{shown}");
        let half = &tokens.aggregator.text()[..40];
        let error = half.parse::<Token>().unwrap_err().to_string();
        assert_eq!(error, "it is not 64 hexadecimal digits");
        let other = "é".repeat(32);
        assert_eq!(other.parse::<Token>().unwrap_err(), TokenError);
    }
}

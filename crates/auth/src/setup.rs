//! The token that opens the first-run setup.
//!
//! Contract: without a token nothing verifies, the empty text least of all.

use std::fmt;

use observe::Mutex;
use subtle::ConstantTimeEq as _;

/// 32 random bytes as 64 hex digits; lives in memory until the setup is done.
pub struct SetupToken {
    /// Held to compare or clear.
    token: Mutex<Option<String>>,
}

impl SetupToken {
    /// A new token. Without random bytes there is none: the caller ends the program.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn generate() -> Result<SetupToken, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let token = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(SetupToken {
            token: Mutex::new("setup-token", Some(token)),
        })
    }

    /// No token: the setup is done.
    pub fn none() -> SetupToken {
        SetupToken {
            token: Mutex::new("setup-token", None),
        }
    }

    /// Whether this is the token; takes the same time wherever it differs.
    pub fn verify(&self, token: &str) -> bool {
        self.token
            .lock()
            .as_ref()
            .is_some_and(|expected| expected.as_bytes().ct_eq(token.as_bytes()).into())
    }

    /// The setup is done; nothing verifies any more.
    pub fn clear(&self) {
        *self.token.lock() = None;
    }

    /// The digits for the banner, while the setup is open.
    pub fn reveal(&self) -> Option<String> {
        self.token.lock().clone()
    }
}

impl fmt::Debug for SetupToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SetupToken").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_verifies() {
        let setup = SetupToken::generate().unwrap();
        let token = setup.reveal().unwrap();
        assert!(
            token.len() == 64
                && token
                    .bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        );
        assert_ne!(Some(&token), SetupToken::generate().unwrap().reveal().as_ref());
        assert!(setup.verify(&token));
        for wrong in [
            "",
            &token[..63],
            &format!("{token}0"),
            &token.to_uppercase().replace(char::is_numeric, "G"),
        ] {
            assert!(!setup.verify(wrong), "{wrong}");
        }
        assert!(!format!("{setup:?}").contains(&token));
        setup.clear();
        assert!(!setup.verify(&token) && !setup.verify("") && setup.reveal().is_none());
        assert!(!SetupToken::none().verify(""));
    }
}

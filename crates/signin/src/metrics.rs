//! What is counted about sign-in without our password.
//!
//! Contract: labels say by which way and how it ended, never who: no name, no address, no provider.

use observe::metrics::Metric;

/// The metrics of this crate.
pub const ALL: &[&dyn Metric] = &[&SIGNINS, &MAILS];

observe::metrics! {
    /// Sign-ins that came back with an answer.
    pub static SIGNINS: Counters<(Way, Ended)> = "tinyice_signins_total" {"way", "result"}:
        "Answers of passkeys and outside providers that were checked, by way and result: ok proved somebody, refused \
         did not, failed is a provider that could not be asked.";
    /// Mails.
    pub static MAILS: Counters<Mailed> = "tinyice_mails_total" {"result"}:
        "Mails to administrators by result; held ones were over the limit of an hour.";
}

observe::label! {
    /// How somebody signs in.
    pub enum Way {
        Passkey = "passkey",
        Oidc = "oidc",
        Github = "github",
    }

    /// How it ended.
    pub enum Ended {
        Ok = "ok",
        Refused = "refused",
        Failed = "failed",
    }

    /// What became of a mail.
    pub enum Mailed {
        Sent = "sent",
        Failed = "failed",
        Held = "held",
    }
}

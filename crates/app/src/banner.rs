//! What a person sees at the first start.

use config::FirstRunSecrets;

/// Why the setup is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// The configuration file was made just now.
    FirstRun,
    /// A flag asked for it.
    Forced,
    /// It was never completed.
    NotComplete,
}

/// The banner. Scripts pick words out of it, so they stay as they are.
pub(crate) fn text(occasion: Occasion, url: &str, token: &str, secrets: Option<&FirstRunSecrets>) -> String {
    let stars = "*".repeat(50);
    let heading = match occasion {
        Occasion::FirstRun => "FIRST RUN: SETUP MODE",
        Occasion::Forced => "FORCE-SETUP MODE",
        Occasion::NotComplete => "SETUP NOT COMPLETE",
    };
    let mut text =
        format!("{stars}\n  {heading}\n\n  Open your browser and navigate to:\n    {url}/setup\n\n");
    text += &format!("  Setup Token: {token}\n\n  You will need this token to complete setup.\n");
    if let Some(secrets) = secrets {
        text += &format!(
            "\n  The server is on air. These passwords are shown only now:\n\n  \
             Admin Password: {}\n  Default Source Password: {}\n  Live Mount Password: {}\n\n  \
             Publish to /live, for example:\n    ffmpeg -re -i music.mp3 -c copy -f mp3 icecast://source:{}@{}/live\n",
            secrets.admin_password,
            secrets.default_source_password,
            secrets.live_mount_password,
            secrets.live_mount_password,
            url.split_once("://").map_or(url, |(_, host)| host),
        );
    }
    text + &stars + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_scripts_look_for_are_there() {
        let secrets = FirstRunSecrets {
            admin_password: "a".into(),
            default_source_password: "d".into(),
            live_mount_password: "l".into(),
        };
        let text = text(Occasion::FirstRun, "http://localhost:8000", "0f", Some(&secrets));
        for line in [
            "  FIRST RUN: SETUP MODE",
            "    http://localhost:8000/setup",
            "  Setup Token: 0f",
            "  Admin Password: a",
            "  Default Source Password: d",
            "  Live Mount Password: l",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}");
        }
        assert_eq!(text.lines().filter(|line| *line == "*".repeat(50)).count(), 2);
    }
}
